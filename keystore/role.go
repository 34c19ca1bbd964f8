package keystore

import "slices"

// Role is what a caller of the admin API may do. Each role may do all that the weaker ones may.
type Role string

// The roles, from the weakest to the strongest.
const (
	RoleViewer        Role = "viewer"        // reads, and sees no token
	RoleDeveloper     Role = "developer"     // manages keys
	RoleAdministrator Role = "administrator" // manages everything but owners
	RoleOwner         Role = "owner"
)

var roles = []Role{RoleViewer, RoleDeveloper, RoleAdministrator, RoleOwner}

// ParseRole reads the word of a role.
func ParseRole(s string) (Role, bool) {
	r := Role(s)
	return r, slices.Contains(roles, r)
}

// Includes says whether r may do all that other may. A word that is no role includes nothing and is included in nothing:
// fail closed.
func (r Role) Includes(other Role) bool {
	mine, theirs := slices.Index(roles, r), slices.Index(roles, other)
	return theirs >= 0 && mine >= theirs
}
