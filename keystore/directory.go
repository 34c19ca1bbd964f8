package keystore

import (
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/keystile/keystile/policy"
)

// directoryShards keeps the copying of one write small: with 100,000 accounts a shard holds 100.
const directoryShards = 1024

// directory answers policy's questions about accounts from the newest state. It is apart from memdb because it stands
// on the way of every request: its shards are immutable maps behind atomic pointers, so that a question takes no lock
// and allocates nothing. Only the writer stores, and it copies a shard to do so.
type directory struct {
	seed   maphash.Seed
	shards [directoryShards]atomic.Pointer[map[string]*Account]
}

var _ policy.Directory = (*directory)(nil)

func newDirectory() *directory { return &directory{seed: maphash.MakeSeed()} }

func (d *directory) shard(id string) *atomic.Pointer[map[string]*Account] {
	return &d.shards[maphash.String(d.seed, id)%directoryShards]
}

func (d *directory) account(id string) *Account {
	m := d.shard(id).Load()
	if m == nil {
		return nil
	}
	return (*m)[id]
}

// put makes an account visible. Only the writer calls it.
func (d *directory) put(a *Account) {
	shard := d.shard(a.ID)
	next := make(map[string]*Account)
	if old := shard.Load(); old != nil {
		next = make(map[string]*Account, len(*old)+1)
		for id, other := range *old {
			next[id] = other
		}
	}
	next[a.ID] = a
	shard.Store(&next)
}

// load takes many accounts at once, before anybody reads.
func (d *directory) load(accounts []*Account) {
	for _, a := range accounts {
		shard := d.shard(a.ID)
		m := shard.Load()
		if m == nil {
			m = &map[string]*Account{}
			shard.Store(m)
		}
		(*m)[a.ID] = a
	}
}

// MemberOf says whether the account belongs to the organization.
func (d *directory) MemberOf(account, organization string) bool {
	a := d.account(account)
	return a != nil && organization != "" && a.Organization == organization
}

// Connected says whether child is directly connected to parent.
func (d *directory) Connected(parent, child string) bool {
	a := d.account(parent)
	if a == nil {
		return false
	}
	_, found := slices.BinarySearch(a.Connections, child)
	return found
}

// DefaultVersion is the account's default API version, "" if it has none.
func (d *directory) DefaultVersion(account string) string {
	if a := d.account(account); a != nil {
		return a.DefaultVersion
	}
	return ""
}

// DefaultSandbox is the id of the account's sandbox named "default", "" if the account is unknown.
func (d *directory) DefaultSandbox(account string) string {
	if a := d.account(account); a != nil {
		return a.DefaultSandbox
	}
	return ""
}
