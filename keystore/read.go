package keystore

import (
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// Limits of a page.
const (
	MaxPageLimit     = 100
	defaultPageLimit = 10
)

// Snapshot is the store at one moment. It never changes, costs nothing to take, and can be read from any number of
// goroutines. Objects read from it are constants.
type Snapshot struct {
	txn   *memdb.Txn // read only
	base  *keyBase   // the keys that memdb does not hold, see [keyView]
	head  Head
	keys  int
	newer int // keys that memdb holds
}

// Revision counts the commits up to this snapshot.
func (v *Snapshot) Revision() uint64 { return v.head.Revision }

// Organization finds an organization by its id.
func (v *Snapshot) Organization(id string) (*Organization, bool) {
	return first[*Organization](v.txn, tableOrganizations, indexID, id)
}

// Account finds an account by its id.
func (v *Snapshot) Account(id string) (*Account, bool) {
	return first[*Account](v.txn, tableAccounts, indexID, id)
}

// Sandbox finds a sandbox by its id.
func (v *Snapshot) Sandbox(id string) (*Sandbox, bool) {
	return first[*Sandbox](v.txn, tableSandboxes, indexID, id)
}

// Key finds a key by its id, ended ones too.
func (v *Snapshot) Key(id string) (*Key, bool) {
	return v.keyView().byID(id)
}

// first is the row that an index has for the arguments. memdb's errors here are wrong table names and wrong types of
// arguments: faults of this package, that its tests find.
func first[T any](txn *memdb.Txn, table, index string, args ...any) (T, bool) {
	raw, err := txn.First(table, index, args...)
	if err != nil {
		panic(fmt.Sprintf("keystore: reading %s by %s: %v", table, index, err))
	}
	obj, ok := raw.(T)
	return obj, ok
}

// Organizations lists organizations, newest first.
func (v *Snapshot) Organizations(p Page) (rows []*Organization, more bool, err error) {
	return page(p, prefixOrganization, walkTable[*Organization](v.txn, tableOrganizations, p.StartingAfter), nil)
}

// Accounts lists accounts, newest first: those of an organization, or all for "".
func (v *Snapshot) Accounts(organization string, p Page) (rows []*Account, more bool, err error) {
	if organization == "" {
		return page(p, prefixAccount, walkTable[*Account](v.txn, tableAccounts, p.StartingAfter), nil)
	}
	walk := walkGroup(v.txn, tableAccounts, indexOrganization, organization, 0, p.StartingAfter,
		func(a *Account) bool { return a.Organization == organization })
	return page(p, prefixAccount, walk, nil)
}

// Sandboxes lists the sandboxes of an account, newest first.
func (v *Snapshot) Sandboxes(account string, p Page) (rows []*Sandbox, more bool, err error) {
	return page(p, prefixSandbox, v.walkSandboxes(account, p.StartingAfter), nil)
}

func (v *Snapshot) walkSandboxes(account, after string) func() *Sandbox {
	return walkGroup(v.txn, tableSandboxes, indexAccount, account, 0, after,
		func(b *Sandbox) bool { return b.Account == account })
}

// page collects one page from a walk. A nil row ends the walk; rows that keep refuses are passed over.
func page[T any](p Page, prefix string, next func() *T, keep func(*T) bool) (rows []*T, more bool, err error) {
	limit := p.Limit
	switch {
	case limit == 0:
		limit = defaultPageLimit
	case limit < 0 || limit > MaxPageLimit:
		return nil, false, invalid("limit", "the limit must be from 1 to %d", MaxPageLimit)
	}
	if p.StartingAfter != "" {
		if got, _, ok := cutIDPrefix(p.StartingAfter); !ok || got != prefix || !plausibleID(p.StartingAfter) {
			return nil, false, invalid("starting_after", "give the id of the last row seen, which begins with %s", prefix)
		}
	}
	for row := next(); row != nil; row = next() {
		if keep != nil && !keep(row) {
			continue
		}
		if len(rows) == limit {
			return rows, true, nil
		}
		rows = append(rows, row)
	}
	return rows, false, nil
}

// afterAll sorts after every id: ids are ASCII.
const afterAll = "\xff"

// walkTable goes through a table by id, from the newest row down, beginning below the id after if there is one.
func walkTable[P interface{ *R }, R any](txn *memdb.Txn, table, after string) func() P {
	from := after
	if from == "" {
		from = afterAll
	}
	it, err := txn.ReverseLowerBound(table, indexID, from)
	if err != nil {
		panic(fmt.Sprintf("keystore: listing %s: %v", table, err))
	}
	seenAfter := after == ""
	return func() P {
		row, _ := it.Next().(P)
		if row != nil && !seenAfter {
			seenAfter = true
			if idOf(row) == after {
				row, _ = it.Next().(P)
			}
		}
		return row
	}
}

// walkGroup goes through the rows of one group of an index, from the newest down; in says whether a row is still of it.
func walkGroup[P interface{ *R }, R any](
	txn *memdb.Txn, table, index, group string, mode byte, after string, in func(P) bool,
) func() P {
	from := after
	if from == "" {
		from = afterAll
	}
	it, err := txn.ReverseLowerBound(table, index, group, mode, from)
	if err != nil {
		panic(fmt.Sprintf("keystore: listing %s by %s: %v", table, index, err))
	}
	seenAfter := after == ""
	return func() P {
		row, _ := it.Next().(P)
		if row != nil && !seenAfter {
			seenAfter = true
			if idOf(row) == after {
				row, _ = it.Next().(P)
			}
		}
		if row == nil || !in(row) {
			return nil
		}
		return row
	}
}

func idOf(row any) string {
	switch r := row.(type) {
	case *Key:
		return r.ID
	case *Account:
		return r.ID
	case *Sandbox:
		return r.ID
	case *Organization:
		return r.ID
	case *AdminToken:
		return r.ID
	case *WebhookEndpoint:
		return r.ID
	case *Member:
		return r.ID
	case *Session:
		return r.ID
	}
	return ""
}
