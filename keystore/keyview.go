package keystore

import (
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/keystile/keystile/policy"
)

// keyView is the keys as one transaction of memdb sees them: those of the base, and in front of them what memdb holds, which
// is newer. A key's digest, owner and mode never change, and no key is ever removed; so a newer version always stands where
// the older one stood, except in the list of what is due.
type keyView struct {
	txn  *memdb.Txn
	base *keyBase
}

func (v *Snapshot) keyView() keyView { return keyView{v.txn, v.base} }

func (c *change) keyView() keyView { return keyView{c.txn, c.base} }

func (v keyView) byID(id string) (*Key, bool) {
	if k, ok := first[*Key](v.txn, tableKeys, indexID, id); ok {
		return k, true
	}
	k := v.base.byID(id)
	return k, k != nil
}

func (v keyView) byDigest(d *policy.Digest) (*Key, bool) {
	if k, ok := first[*Key](v.txn, tableKeys, indexDigest, d); ok {
		return k, true
	}
	k := v.base.find(d)
	return k, k != nil
}

// cell is what the versions of a key share, nil if there is no such key.
func (v keyView) cell(id string) *usageCell {
	if k, ok := first[*Key](v.txn, tableKeys, indexID, id); ok {
		return k.usage
	}
	if n, found := v.base.search(id); found {
		return v.base.cells[n]
	}
	return nil
}

// changed says whether a key of the base has a newer version in memdb.
func (v keyView) changed(id string) bool {
	_, ok := first[*Key](v.txn, tableKeys, indexID, id)
	return ok
}

// walk goes through all keys from the newest down, beginning below the id after if there is one. If keep is there, it is
// asked early for the most of them, so that those that it refuses cost less. The others must be asked about all the same:
// what is in memdb comes unasked, since it may stand in front of an older version that keep would take.
func (v keyView) walk(after string, keep func(*Key) bool) func() *Key {
	return newestOf(walkTable[*Key](v.txn, tableKeys, after), v.base.walk(after, keep))
}

// walkOwner is walk for the keys of one owner and mode.
func (v keyView) walkOwner(owner string, mode policy.Mode, after string, keep func(*Key) bool) func() *Key {
	newer := walkGroup(v.txn, tableKeys, indexOwner, owner, byte(mode), after,
		func(k *Key) bool { return k.Mode == mode && k.Owner() == owner })
	return newestOf(newer, v.base.walkOwner(owner, mode, after, keep))
}

// newestOf merges two walks that each go from the newest down. Of one key in both the left one counts.
func newestOf(a, b func() *Key) func() *Key {
	left, right := a(), b()
	return func() (k *Key) {
		switch {
		case left != nil && right != nil && left.ID == right.ID:
			k, left, right = left, a(), b()
		case right == nil || (left != nil && left.ID > right.ID):
			if k = left; k != nil {
				left = a()
			}
		default:
			k, right = right, b()
		}
		return k
	}
}

// walkDue goes through the keys that will be due, the next one first.
func (v keyView) walkDue() func() *Key {
	it, err := v.txn.LowerBound(tableKeys, indexDue, time.UnixMilli(0), "")
	if err != nil {
		panic("keystore: listing keys by " + indexDue + ": " + err.Error())
	}
	newer := func() *Key {
		k, _ := it.Next().(*Key)
		return k
	}
	all := v.base.walkDue()
	older := func() *Key {
		for k := all(); k != nil; k = all() {
			if !v.changed(k.ID) {
				return k
			}
		}
		return nil
	}
	left, right := newer(), older()
	return func() (k *Key) {
		if right == nil || (left != nil && !right.due().Before(left.due())) {
			if k = left; k != nil {
				left = newer()
			}
			return k
		}
		k, right = right, older()
		return k
	}
}

// eachRow gives every key as it is stored, by id. The row's Data is valid only during the call.
func (v keyView) eachRow(row func(Row) error) error {
	it, err := v.txn.LowerBound(tableKeys, indexID, "")
	if err != nil {
		return err
	}
	newer, _ := it.Next().(*Key)
	for n := 0; newer != nil || n < len(v.base.rows); {
		var id []byte
		if n < len(v.base.rows) {
			id = v.base.id(n)
		}
		if newer == nil || (id != nil && string(id) < newer.ID) {
			if err := row(Row{Table: TableKey, ID: string(id), Data: v.base.record(n)}); err != nil {
				return err
			}
			n++
			continue
		}
		if string(id) == newer.ID {
			n++
		}
		if err := row(Row{Table: TableKey, ID: newer.ID, Data: newer.encode()}); err != nil {
			return err
		}
		newer, _ = it.Next().(*Key)
	}
	return nil
}
