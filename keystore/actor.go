package keystore

// Actor is who changes something. It stands in the audit event of the change.
type Actor struct {
	Kind    string // "system", "local" (Caddy's admin endpoint), "admin_token", "member"
	ID      string // adm_…, mem_…; "" for system and local
	Name    string // for people to read
	Address string // client address, "" if none
}

// label is how objects name who made them.
func (a Actor) label() string {
	switch {
	case a.ID != "":
		return a.ID
	case a.Name != "":
		return a.Name
	}
	return a.Kind
}
