package caddymodule

// valueArray is the one allocation behind the values of all headers that the gateway sets on a request and its answer.
// Each value is a slice of its own with no room to grow, and the array is never used for another request: other
// handlers change header values in place, and Caddy's header replacements do.
type valueArray struct {
	used   int
	values [16]string
}

// one answers a header value that holds the string.
func (v *valueArray) one(s string) []string {
	if v.used == len(v.values) {
		return []string{s}
	}
	i := v.used
	v.used++
	v.values[i] = s
	return v.values[i : i+1 : i+1]
}
