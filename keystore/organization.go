package keystore

import "time"

// Organization owns accounts and organization keys. It is a constant once stored.
type Organization struct {
	ID        string // org_…
	Name      string
	CreatedAt time.Time // UTC, whole milliseconds
	Revision  uint64    // of the commit that wrote it
}

// OrganizationParams is a new organization.
type OrganizationParams struct {
	Name string // required, 1 to 200 printable characters
}

// OrganizationPatch changes an organization. Absent fields stay as they are.
type OrganizationPatch struct {
	Name       Field[string] // cannot be null
	IfRevision uint64        // the revision that the organization must have; 0: whatever it is
}
