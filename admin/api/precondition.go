package api

import (
	"net/http"
	"strconv"
	"strings"
)

// Optimistic concurrency: every answer with one object carries its revision as a strong ETag, and PATCH with If-Match
// changes the object only if it still has one of the revisions named.

// etag is the entity tag of a revision.
func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// ifRevision is what If-Match asks for: the revision that the object must still have, 0 if it does not matter. current is
// the object's revision now. For a key it is passed on to the store, which checks again under its own lock.
func (c *call) ifRevision(current uint64) (uint64, error) {
	lines := c.r.Header.Values("If-Match")
	if len(lines) == 0 {
		return 0, nil
	}
	list := strings.Join(lines, ",")
	if strings.TrimSpace(list) == "*" {
		return 0, nil // the object exists, which is all that * asks
	}
	for tag := range strings.SplitSeq(list, ",") {
		tag = strings.TrimSpace(tag)
		quoted, ok := strings.CutPrefix(tag, `"`)
		if ok {
			quoted, ok = strings.CutSuffix(quoted, `"`)
		}
		if !ok {
			return 0, badParam("If-Match", `If-Match takes the ETag of an earlier answer, with its quotes, such as %s; weak tags (W/…) never match`, etag(current))
		}
		if quoted == strconv.FormatUint(current, 10) {
			return current, nil
		}
	}
	return 0, newError(http.StatusPreconditionFailed, codeRevisionMismatch, "If-Match",
		"the object has changed since: it is at revision %d now; get it again and repeat the change", current)
}
