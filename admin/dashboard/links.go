package dashboard

import "net/url"

// links makes the addresses of all links, so that the dashboard can be mounted below any path.
type links struct {
	prefix string
	files  files
}

// To is the address of one of our paths.
func (l links) To(path string) string { return l.prefix + path }

// File is the address of a file: it carries the digest of what is in it, so that it can be kept for ever.
func (l links) File(name string) string { return l.prefix + "/static/" + l.files.address(name) }

// withQuery is a path with parameters; without those that are empty.
func withQuery(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}
