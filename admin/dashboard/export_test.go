package dashboard

// Patterns lists all routes, with the call of the API that each needs.
func (d *Dashboard) Patterns() map[string]string {
	out := map[string]string{}
	for _, r := range d.routes() {
		out[r.pattern] = r.operation
	}
	return out
}
