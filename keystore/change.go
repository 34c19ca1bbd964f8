package keystore

import (
	"fmt"
	"time"

	"github.com/hashicorp/go-memdb"
)

// change is one write under way: what it would put into memory, what it would make durable, and its events. Until it is
// committed nobody else sees any of it.
type change struct {
	store    *Store
	actor    Actor
	now      time.Time // whole milliseconds, UTC
	revision uint64    // of the commit that this becomes

	txn      *memdb.Txn // of memory
	base     *keyBase   // the keys behind it
	keys     []*Key     // written: the newest versions of theirs as soon as this is visible
	newer    int        // keys that memdb did not hold before
	rows     []Row
	events   []*Event
	accounts []*Account // written, for the directory
	newKeys  int
	due      bool // a key is due at another time than before, see scheduler.go
	imported bool
	stage    string   // rows that the backend has already, see Stage
	arrival  *arrival // what they are
	commit   *Commit  // once it is built
	ended    []string // sessions, see forgetSeen
}

// staged is the state that this change leads to.
func (c *change) staged() *Snapshot { return &Snapshot{txn: c.txn, base: c.base} }

// newID is a fresh id.
func (c *change) newID(prefix string) (string, error) { return c.store.ids.next(prefix, c.now) }

func (c *change) put(t Table, table, id string, obj any, data []byte) error {
	if err := c.txn.Insert(table, obj); err != nil {
		return fmt.Errorf("changing %s: %w", table, err)
	}
	c.rows = append(c.rows, Row{Table: t, ID: id, Data: data})
	return nil
}

func (c *change) putOrganization(o *Organization) error {
	o.Revision = c.revision
	return c.put(TableOrganization, tableOrganizations, o.ID, o, o.encode())
}

func (c *change) putAccount(a *Account) error {
	a.Revision = c.revision
	c.accounts = append(c.accounts, a)
	return c.put(TableAccount, tableAccounts, a.ID, a, a.encode())
}

func (c *change) putSandbox(b *Sandbox) error {
	b.Revision = c.revision
	return c.put(TableSandbox, tableSandboxes, b.ID, b, b.encode())
}

func (c *change) removeSandbox(b *Sandbox) error {
	if err := c.txn.Delete(tableSandboxes, b); err != nil {
		return fmt.Errorf("removing a sandbox: %w", err)
	}
	c.rows = append(c.rows, Row{Table: TableSandbox, ID: b.ID})
	return nil
}

// putKey compiles and stages a key. A new one must have a digest that no other key has: memdb would put the newer one in
// the older one's place.
func (c *change) putKey(k *Key) error {
	k.Revision = c.revision
	in := c.store.intern
	k.IPRanges, k.AllowedOrigins = in.shareList(k.IPRanges), in.shareList(k.AllowedOrigins)
	if err := k.compile(in); err != nil {
		return err
	}
	if err := k.checkStored(); err != nil {
		return fmt.Errorf("refusing to store %s: %w", k.ID, err)
	}
	c.due = c.due || !k.due().IsZero()
	return c.stageKey(k)
}

// stageKey stages a key that is compiled, as its newest version.
func (c *change) stageKey(k *Key) error {
	if !c.keyView().changed(k.ID) {
		c.newer++
	}
	k.version++ // it is a copy of the version before, if there is one
	c.keys = append(c.keys, k)
	return c.put(TableKey, tableKeys, k.ID, k, k.encode())
}

// putNewKey is putKey for a key that did not exist.
func (c *change) putNewKey(k *Key) error {
	if _, taken := c.keyView().byDigest(&k.Digest); taken {
		return conflict("token", "another key has this token already")
	}
	if err := c.store.arrival.meet(&k.Digest); err != nil {
		return err
	}
	k.usage, k.version = new(usageCell), 0
	c.newKeys++
	c.imported = c.imported || k.Imported
	return c.putKey(k)
}

// The readers of a change see what it has staged.

func (c *change) organization(param, id string) (*Organization, error) {
	if o, ok := first[*Organization](c.txn, tableOrganizations, indexID, id); ok {
		return o, nil
	}
	return nil, notFound(param, "organization", id)
}

func (c *change) account(param, id string) (*Account, error) {
	if a, ok := first[*Account](c.txn, tableAccounts, indexID, id); ok {
		return a, nil
	}
	return nil, notFound(param, "account", id)
}

func (c *change) sandbox(param, id string) (*Sandbox, error) {
	if b, ok := first[*Sandbox](c.txn, tableSandboxes, indexID, id); ok {
		return b, nil
	}
	return nil, notFound(param, "sandbox", id)
}

func (c *change) key(param, id string) (*Key, error) {
	if k, ok := c.keyView().byID(id); ok {
		return k, nil
	}
	return nil, notFound(param, "key", id)
}

// liveKey is a key that has not ended, at the revision that the caller expects (0: any).
func (c *change) liveKey(id string, revision uint64) (*Key, error) {
	k, err := c.key("", id)
	if err != nil {
		return nil, err
	}
	if err := checkRevision("key", k.ID, k.Revision, revision); err != nil {
		return nil, err
	}
	if k.Ended(c.now) {
		return nil, keyEnded(k)
	}
	return k, nil
}

// checkRevision refuses a change that was made up on another revision than the object is at. 0 wants none.
func checkRevision(noun, id string, is, want uint64) error {
	if want == 0 || is == want {
		return nil
	}
	return &Error{Code: CodeRevision, Message: fmt.Sprintf(
		"%s '%s' is at revision %d, not %d: read it again and repeat the change", noun, id, is, want)}
}

func keyEnded(k *Key) *Error {
	what := "has expired"
	switch {
	case k.Deleted:
		what = "was deleted"
	case k.Successor != "":
		what = "was rotated away"
	}
	return &Error{Code: CodeKeyEnded, Message: fmt.Sprintf("key '%s' %s; an ended key cannot be used or changed any more", k.ID, what)}
}
