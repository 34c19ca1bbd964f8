package keystore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/keystile/keystile/policy"
)

// The tables and indexes in memory. An index over a million keys would cost 400 MB and some seconds at each start. So memdb
// holds only the keys that were made or changed since the base was built (see [keyBase]), and what else there is; its
// transactions and snapshots cover all of it. The indexes:
//
//	keys by id      required by memdb; since ids sort by creation it is also the order of the list of all keys
//	keys by digest  the look-up of a request
//	keys by owner   the keys of one account or organization and mode, by creation
//	keys by due     those that will end or be rotated, by when: the scheduler's
//	accounts by organization, sandboxes by account: their lists
const (
	tableOrganizations = "organizations"
	tableAccounts      = "accounts"
	tableSandboxes     = "sandboxes"
	tableKeys          = "keys"
	tableAdminTokens   = "admin_tokens"
	tableWebhooks      = "webhook_endpoints"
	tableMembers       = "members"
	tableSessions      = "sessions"

	indexID           = "id"
	indexDigest       = "digest"
	indexOwner        = "owner"
	indexOrganization = "organization"
	indexDue          = "due"
	indexAccount      = "account"
	indexEmail        = "email"
	indexMember       = "member"
)

func schema() *memdb.DBSchema {
	return &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		tableOrganizations: table(tableOrganizations, unique(indexID, indexer[*Organization]{
			write: func(o *Organization) []byte { return idKey(o.ID) },
			read:  readID,
		})),
		tableAccounts: table(tableAccounts,
			unique(indexID, indexer[*Account]{
				write: func(a *Account) []byte { return idKey(a.ID) },
				read:  readID,
			}),
			// Accounts that stand alone are not in the index.
			&memdb.IndexSchema{Name: indexOrganization, Unique: true, AllowMissing: true, Indexer: indexer[*Account]{
				write: func(a *Account) []byte {
					if a.Organization == "" {
						return nil
					}
					return groupKey(a.Organization, 0, a.ID)
				},
				read: readGroup,
			}}),
		tableSandboxes: table(tableSandboxes,
			unique(indexID, indexer[*Sandbox]{
				write: func(b *Sandbox) []byte { return idKey(b.ID) },
				read:  readID,
			}),
			unique(indexAccount, indexer[*Sandbox]{
				write: func(b *Sandbox) []byte { return groupKey(b.Account, 0, b.ID) },
				read:  readGroup,
			})),
		tableAdminTokens: table(tableAdminTokens,
			unique(indexID, indexer[*AdminToken]{
				write: func(t *AdminToken) []byte { return idKey(t.ID) },
				read:  readID,
			}),
			unique(indexDigest, indexer[*AdminToken]{
				write: func(t *AdminToken) []byte { return append([]byte(nil), t.Digest[:]...) },
				read:  readDigest,
			})),
		tableWebhooks: table(tableWebhooks, unique(indexID, indexer[*WebhookEndpoint]{
			write: func(w *WebhookEndpoint) []byte { return idKey(w.ID) },
			read:  readID,
		})),
		tableMembers: table(tableMembers,
			unique(indexID, indexer[*Member]{
				write: func(m *Member) []byte { return idKey(m.ID) },
				read:  readID,
			}),
			&memdb.IndexSchema{Name: indexEmail, Unique: true, AllowMissing: true, Indexer: indexer[*Member]{
				write: func(m *Member) []byte {
					if m.Email == "" {
						return nil
					}
					return idKey(m.Email)
				},
				read: readID,
			}},
			// Of open invitations.
			&memdb.IndexSchema{Name: indexDigest, Unique: true, AllowMissing: true, Indexer: indexer[*Member]{
				write: func(m *Member) []byte {
					if m.Invitation == (policy.Digest{}) {
						return nil
					}
					return append([]byte(nil), m.Invitation[:]...)
				},
				read: readDigest,
			}}),
		tableSessions: table(tableSessions,
			unique(indexID, indexer[*Session]{
				write: func(s *Session) []byte { return idKey(s.ID) },
				read:  readID,
			}),
			unique(indexDigest, indexer[*Session]{
				write: func(s *Session) []byte { return append([]byte(nil), s.Digest[:]...) },
				read:  readDigest,
			}),
			unique(indexMember, indexer[*Session]{
				write: func(s *Session) []byte { return groupKey(s.Member, 0, s.ID) },
				read:  readGroup,
			})),
		tableKeys: table(tableKeys,
			unique(indexID, indexer[*Key]{
				write: func(k *Key) []byte { return idKey(k.ID) },
				read:  readID,
			}),
			unique(indexDigest, indexer[*Key]{
				write: func(k *Key) []byte { return append([]byte(nil), k.Digest[:]...) },
				read:  readDigest,
			}),
			unique(indexOwner, indexer[*Key]{
				write: func(k *Key) []byte { return groupKey(k.Owner(), byte(k.Mode), k.ID) },
				read:  readGroup,
			}),
			// Keys with neither an end before them nor a schedule are not in the index: they cost nothing.
			&memdb.IndexSchema{Name: indexDue, Unique: true, AllowMissing: true, Indexer: indexer[*Key]{
				write: func(k *Key) []byte {
					if at := k.due(); !at.IsZero() {
						return dueKey(at, k.ID)
					}
					return nil
				},
				read: readDue,
			}}),
	}}
}

func table(name string, indexes ...*memdb.IndexSchema) *memdb.TableSchema {
	t := &memdb.TableSchema{Name: name, Indexes: make(map[string]*memdb.IndexSchema, len(indexes))}
	for _, ix := range indexes {
		t.Indexes[ix.Name] = ix
	}
	return t
}

func unique(name string, ix memdb.Indexer) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, Indexer: ix}
}

// indexer computes index keys by functions: memdb's own indexers go through reflection.
type indexer[T any] struct {
	write func(T) []byte // nil: the object is not in the index
	read  func(args []any) ([]byte, error)
}

// FromObject is the key of an object.
func (x indexer[T]) FromObject(raw any) (bool, []byte, error) {
	obj, ok := raw.(T)
	if !ok {
		return false, nil, fmt.Errorf("indexing: got a %T", raw)
	}
	key := x.write(obj)
	return key != nil, key, nil
}

// FromArgs is the key of a look-up.
func (x indexer[T]) FromArgs(args ...any) ([]byte, error) { return x.read(args) }

var errIndexArgs = errors.New("wrong arguments for this index")

// idKey ends with a zero byte, so that no id is the prefix of another.
func idKey(id string) []byte {
	b := make([]byte, 0, len(id)+1)
	return append(append(b, id...), 0)
}

func readID(args []any) ([]byte, error) {
	if len(args) != 1 {
		return nil, errIndexArgs
	}
	id, ok := args[0].(string)
	if !ok {
		return nil, errIndexArgs
	}
	return idKey(id), nil
}

// readDigest wants a pointer: an array in an interface would be copied to the heap once more.
func readDigest(args []any) ([]byte, error) {
	if len(args) != 1 {
		return nil, errIndexArgs
	}
	d, ok := args[0].(*policy.Digest)
	if !ok {
		return nil, errIndexArgs
	}
	return d[:], nil
}

// groupKey orders the rows of one group (an owner, and for keys a mode) by creation. The rows' own prefix says nothing
// here and is left out: the key then fits in 48 bytes.
func groupKey(group string, mode byte, id string) []byte {
	_, body, ok := cutIDPrefix(id)
	if !ok {
		body = id
	}
	b := make([]byte, 0, len(group)+len(body)+3)
	b = append(append(b, group...), 0, mode)
	return append(append(b, body...), 0)
}

// readGroup takes (group string, mode byte, id string). The id "" is where the group begins; see afterAll for its end.
func readGroup(args []any) ([]byte, error) {
	if len(args) != 3 {
		return nil, errIndexArgs
	}
	group, ok1 := args[0].(string)
	mode, ok2 := args[1].(byte)
	id, ok3 := args[2].(string)
	if !ok1 || !ok2 || !ok3 {
		return nil, errIndexArgs
	}
	return groupKey(group, mode, id), nil
}

// dueKey orders keys by when something is to be done about them.
func dueKey(at time.Time, id string) []byte {
	b := make([]byte, 0, len(id)+9)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
	return append(append(b, id...), 0)
}

// readDue takes (at time.Time, id string).
func readDue(args []any) ([]byte, error) {
	if len(args) != 2 {
		return nil, errIndexArgs
	}
	at, ok1 := args[0].(time.Time)
	id, ok2 := args[1].(string)
	if !ok1 || !ok2 {
		return nil, errIndexArgs
	}
	return dueKey(at, id), nil
}
