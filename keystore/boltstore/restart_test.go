package boltstore_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

var by = keystore.Actor{Kind: "system", Name: "test"}

// model is what a store should hold, kept in plain maps.
type model struct {
	accounts  []string
	sandboxes map[string][]string // of an account, beside the default one
	linked    map[[2]string]bool
	keys      map[string]*modelKey
	order     []string // ids of keys, in the order of their making
}

type modelKey struct {
	digest           policy.Digest
	kind             policy.Kind
	mode             policy.Mode
	account, sandbox string
	name             string
	access           policy.Access // on charges, of restricted keys
	deleted, rotated bool
	reveals          int // how many are left; -1: any number
}

func (k *modelKey) ended() bool { return k.deleted || k.rotated }

func (m *model) add(k *keystore.Key, reveals int) {
	m.keys[k.ID] = &modelKey{
		digest: k.Digest, kind: k.Kind, mode: k.Mode, account: k.Account, sandbox: k.Sandbox, name: k.Name,
		access: k.Principal.Permissions.Get("charges"), reveals: reveals,
	}
	m.order = append(m.order, k.ID)
}

// contents is everything that a store shows, as values: two of them are equal byte for byte or not at all.
func contents(t *testing.T, s *keystore.Store) map[string]any {
	t.Helper()
	all := make(map[string]any)
	snap := s.Snapshot()
	at := time.Now()
	page := keystore.Page{Limit: 100}
	for {
		rows, more, err := snap.Keys(keystore.KeyFilter{}, page, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range rows {
			all[k.ID] = keyValue(*k)
			page.StartingAfter = k.ID
		}
		if !more {
			break
		}
	}
	page = keystore.Page{Limit: 100}
	for {
		rows, more, err := snap.Accounts("", page)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range rows {
			all[a.ID] = *a
			boxes, _, err := snap.Sandboxes(a.ID, keystore.Page{Limit: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range boxes {
				all[b.ID] = *b
			}
			page.StartingAfter = a.ID
		}
		if !more {
			break
		}
	}
	all["revision"] = snap.Revision()
	all["keys"] = s.Len()
	all["imported"] = s.HasImported()
	return all
}

// keyValue is a key as text: all its fields, also those that are not exported, but for what belongs to one process.
func keyValue(k keystore.Key) string {
	v := reflect.ValueOf(k)
	text := ""
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "usage", "version":
		case "Principal":
			p := k.Principal
			text += fmt.Sprintf("rights %v %v %v;", p.Permissions.Map(), p.ConnectedPermissions.Map(), p.Networks.Strings())
			p.Permissions, p.ConnectedPermissions, p.Networks = nil, nil, nil
			text += fmt.Sprintf("principal %#v %v;", p, p.ExpiresAt)
		default:
			text += fmt.Sprintf("%s %#v %v;", name, v.Field(i), v.Field(i))
		}
	}
	return text
}

// TestModel runs random operations against a store in a file and against plain maps, with restarts in between. After each
// restart everything is there as it was, and everything is as the maps say.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, rand.New(rand.NewPCG(seed, 42)), filepath.Join(t.TempDir(), "keys.db"))
		})
	}
}

func runModel(t *testing.T, r *rand.Rand, path string) {
	open := func() *keystore.Store {
		t.Helper()
		b, err := boltstore.Open(path, boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := keystore.Open(context.Background(), keystore.Options{Backend: b, MasterKey: keystoretest.MasterKey(t)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	m := &model{sandboxes: make(map[string][]string), linked: make(map[[2]string]bool), keys: make(map[string]*modelKey)}
	for step := range 400 {
		if len(m.accounts) < 2 {
			m.account(t, s)
		}
		switch n := r.IntN(100); {
		case n < 4:
			m.account(t, s)
		case n < 30:
			m.create(t, r, s)
		case n < 50:
			m.edit(t, r, s)
		case n < 62:
			m.remove(t, r, s)
		case n < 74:
			m.rotate(t, r, s)
		case n < 86:
			m.reveal(t, r, s)
		case n < 90:
			m.connect(t, r, s)
		case n < 94:
			m.addSandbox(t, r, s, step)
		case n < 97:
			m.removeSandbox(t, r, s)
		default:
			before := contents(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
			if after := contents(t, s); !reflect.DeepEqual(after, before) {
				for id, was := range before {
					if !reflect.DeepEqual(after[id], was) {
						t.Errorf("%s was\n%v\nand is after a restart\n%v", id, was, after[id])
					}
				}
				t.Fatalf("a restart changed the store: %d objects before, %d after", len(before), len(after))
			}
		}
		m.check(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func (m *model) account(t *testing.T, s *keystore.Store) {
	t.Helper()
	a, keys, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	m.accounts = append(m.accounts, a.ID)
	for i, k := range keys {
		m.add(k, []int{-1, -1, 1, -1}[i])
	}
}

func (m *model) anyAccount(r *rand.Rand) string { return m.accounts[r.IntN(len(m.accounts))] }

func (m *model) create(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	p := keystore.KeyParams{Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: m.anyAccount(r), Name: fmt.Sprint("key ", r.IntN(1000))}
	reveals := 0
	if r.IntN(2) == 0 {
		p.Mode, reveals = policy.ModeSandbox, -1
		if boxes := m.sandboxes[p.Account]; len(boxes) > 0 {
			p.Sandbox = boxes[r.IntN(len(boxes))]
		}
	}
	p.Permissions = policy.NewPermissions(map[string]policy.Access{"charges": policy.Access(r.IntN(3))})
	k, _, err := s.CreateKey(t.Context(), by, p)
	if err != nil {
		t.Fatal(err)
	}
	m.add(k, reveals)
}

func (m *model) pick(r *rand.Rand) (string, *modelKey) {
	id := m.order[r.IntN(len(m.order))]
	return id, m.keys[id]
}

func want(t *testing.T, what string, err error, code keystore.Code) {
	t.Helper()
	if got := keystore.CodeOf(err); got != code || (err == nil) != (code == "") {
		t.Fatalf("%s: %v, want code %q", what, err, code)
	}
}

func (m *model) edit(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	id, k := m.pick(r)
	name := fmt.Sprint("edited ", r.IntN(1000))
	patch := keystore.KeyPatch{Name: keystore.To(name)}
	access := policy.Access(r.IntN(3))
	if k.kind == policy.KindRestricted {
		patch.Permissions = keystore.To(policy.NewPermissions(map[string]policy.Access{"charges": access}))
	}
	_, err := s.UpdateKey(t.Context(), by, id, patch)
	if k.ended() {
		want(t, "editing an ended key", err, keystore.CodeKeyEnded)
		return
	}
	want(t, "editing", err, "")
	if k.name = name; k.kind == policy.KindRestricted {
		k.access = access
	}
}

func (m *model) remove(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	id, k := m.pick(r)
	_, err := s.DeleteKey(t.Context(), by, id)
	switch {
	case k.deleted:
		want(t, "deleting again", err, keystore.CodeKeyEnded)
	case k.kind == policy.KindPublishable:
		want(t, "deleting a publishable key", err, keystore.CodeNotDeletable)
	default:
		want(t, "deleting", err, "")
		k.deleted, k.reveals = true, 0
	}
}

func (m *model) rotate(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	id, k := m.pick(r)
	made, _, err := s.RotateKey(t.Context(), by, id, keystore.RotateParams{})
	if k.ended() {
		want(t, "rotating an ended key", err, keystore.CodeKeyEnded)
		return
	}
	want(t, "rotating", err, "")
	k.rotated = true
	reveals := -1
	if k.mode == policy.ModeLive && k.kind != policy.KindPublishable {
		reveals = 0
	}
	m.add(made, reveals)
	if got := m.keys[made.ID]; got.access != k.access || got.account != k.account || got.sandbox != k.sandbox || got.kind != k.kind {
		t.Fatalf("the successor of %+v is %+v", k, got)
	}
}

func (m *model) reveal(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	id, k := m.pick(r)
	_, token, err := s.RevealKey(t.Context(), by, id)
	switch {
	case k.kind == policy.KindPublishable:
		want(t, "revealing a publishable key", err, "")
	case k.ended():
		want(t, "revealing an ended key", err, keystore.CodeKeyEnded)
		return
	case k.reveals == 0:
		if code := keystore.CodeOf(err); code != keystore.CodeNotRevealable && code != keystore.CodeAlreadyRevealed {
			t.Fatalf("revealing what cannot be: %v", err)
		}
		return
	default:
		want(t, "revealing", err, "")
		if k.reveals > 0 {
			k.reveals--
		}
	}
	if token.Digest() != k.digest {
		t.Fatal("another token was revealed")
	}
}

func (m *model) connect(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	pair := [2]string{m.anyAccount(r), m.anyAccount(r)}
	if m.linked[pair] {
		_, err := s.Disconnect(t.Context(), by, pair[0], pair[1])
		want(t, "disconnecting", err, "")
		delete(m.linked, pair)
		return
	}
	_, err := s.Connect(t.Context(), by, pair[0], pair[1])
	if pair[0] == pair[1] {
		want(t, "connecting to itself", err, keystore.CodeConflict)
		return
	}
	want(t, "connecting", err, "")
	m.linked[pair] = true
}

func (m *model) addSandbox(t *testing.T, r *rand.Rand, s *keystore.Store, step int) {
	t.Helper()
	account := m.anyAccount(r)
	b, keys, err := s.CreateSandbox(t.Context(), by, account, fmt.Sprint("box ", step))
	want(t, "making a sandbox", err, "")
	m.sandboxes[account] = append(m.sandboxes[account], b.ID)
	for _, k := range keys {
		m.add(k, -1)
	}
}

func (m *model) removeSandbox(t *testing.T, r *rand.Rand, s *keystore.Store) {
	t.Helper()
	account := m.anyAccount(r)
	boxes := m.sandboxes[account]
	if len(boxes) == 0 {
		return
	}
	at := r.IntN(len(boxes))
	want(t, "removing a sandbox", s.DeleteSandbox(t.Context(), by, account, boxes[at]), "")
	for _, k := range m.keys {
		if k.sandbox == boxes[at] {
			k.deleted, k.reveals = true, 0
		}
	}
	m.sandboxes[account] = slices.Delete(boxes, at, at+1)
}

func (m *model) check(t *testing.T, s *keystore.Store) {
	t.Helper()
	if s.Len() != len(m.keys) {
		t.Fatalf("%d keys, want %d", s.Len(), len(m.keys))
	}
	for id, k := range m.keys {
		got, _ := s.Lookup(&k.digest)
		if got == nil || got.ID != id || got.Name != k.name || got.Deleted != k.deleted || got.Principal.Ended != k.ended() ||
			got.Principal.Permissions.Get("charges") != k.access || got.Account != k.account || got.Sandbox != k.sandbox {
			t.Fatalf("key %s is %+v, want %+v", id, got, k)
		}
	}
	dir := s.Directory()
	for _, a := range m.accounts {
		for _, b := range m.accounts {
			if dir.Connected(a, b) != m.linked[[2]string{a, b}] {
				t.Fatalf("%s and %s: connected %v", a, b, dir.Connected(a, b))
			}
		}
	}
}
