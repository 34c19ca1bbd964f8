package keystore

// Stage is a set of rows that become visible together, though they are too many for one transaction. A backend stores
// them bit by bit and shows none of them until a commit names the stage; what a crash leaves of a stage is never seen.
type Stage struct {
	ID          string
	Table       Table
	First, Last string // between these ids, both included, stand the stage's rows and no others
}

// stageBatch is how many rows of a stage are stored in one transaction, so that commits of others never wait long.
const stageBatch = 5000
