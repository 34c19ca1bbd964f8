package keystore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

var by4 = netip.MustParseAddr("203.0.113.7")

// modelKey is what a plain map knows of a key.
type modelKey struct {
	name, note string
	kind       policy.Kind
	mode       policy.Mode
	expires    time.Time
	ended      bool // deleted or rotated away, or its end was seen passed
	deleted    bool
	successor  string
	every      int
	next       time.Time // of the schedule
	overlap    time.Duration
	reveals    int // how many times it can be revealed: 0, 1, -1 for any number
	digest     policy.Digest
}

func (m *modelKey) isEnded(now time.Time) bool {
	m.ended = m.ended || !m.expires.IsZero() && !now.Before(m.expires)
	return m.ended
}

// model is a key store as a plain map, and the real one beside it.
type model struct {
	t       *testing.T
	r       *rand.Rand
	c       *clock
	path    string
	s       *keystore.Store
	run     *keystore.Scheduler
	account string
	keys    map[string]*modelKey
	ids     []string
	log     []string // what was done, for the report of a failure
}

func (m *model) open() {
	m.t.Helper()
	backend, err := boltstore.Open(m.path, boltstore.Options{})
	if err != nil {
		m.t.Fatal(err)
	}
	m.s, err = keystore.Open(m.t.Context(), keystore.Options{Backend: backend, MasterKey: keystoretest.MasterKey(m.t), Now: m.c.now, CacheEntries: 64})
	if err != nil {
		m.t.Fatal(err)
	}
	m.run = m.s.NewScheduler(m.t, "a")
}

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	for _, line := range m.log[max(0, len(m.log)-30):] {
		m.t.Log(line)
	}
	m.t.Fatalf(format, args...)
}

// want compares how a call ended with how it should have.
func (m *model) want(what string, err error, allowed bool) bool {
	m.t.Helper()
	m.log = append(m.log, fmt.Sprintf("%s %s: %v", m.c.at.Format(time.DateTime), what, err))
	if (err == nil) != allowed {
		m.fail("%s: got %v, allowed %v", what, err, allowed)
	}
	return err == nil
}

func (m *model) add(k *keystore.Key, reveals int) *modelKey {
	made := &modelKey{name: k.Name, note: k.Note, kind: k.Kind, mode: k.Mode, expires: k.ExpiresAt, reveals: reveals, digest: k.Digest}
	m.keys[k.ID], m.ids = made, append(m.ids, k.ID)
	return made
}

func (m *model) pick() (string, *modelKey) {
	id := m.ids[m.r.IntN(len(m.ids))]
	return id, m.keys[id]
}

func (m *model) create() {
	p := keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.Mode(1 + m.r.IntN(2)), Account: m.account, Name: fmt.Sprint("key ", m.r.IntN(1000)),
	}
	if m.r.IntN(3) == 0 {
		p.ExpiresAt = m.c.at.Add(time.Duration(1+m.r.IntN(40)) * day)
	}
	k, _, err := m.s.CreateKey(m.t.Context(), by, p)
	if m.want("create", err, true) {
		m.add(k, revealsOf(p.Mode))
	}
}

func revealsOf(mode policy.Mode) int {
	if mode == policy.ModeSandbox {
		return -1
	}
	return 0
}

func (m *model) edit() {
	id, k := m.pick()
	note := fmt.Sprint("note ", m.r.IntN(1000))
	_, err := m.s.UpdateKey(m.t.Context(), by, id, keystore.KeyPatch{Note: keystore.To(note)})
	if m.want("edit "+id, err, !k.isEnded(m.c.at)) {
		k.note = note
	}
}

func (m *model) reveal() {
	id, k := m.pick()
	_, token, err := m.s.RevealKey(m.t.Context(), by, id)
	if m.want("reveal "+id, err, !k.isEnded(m.c.at) && k.reveals != 0) {
		if token.Digest() != k.digest {
			m.fail("%s: another key's token", id)
		}
		k.reveals = min(k.reveals, 0)
	}
}

func (m *model) rotate() {
	id, k := m.pick()
	var p keystore.RotateParams
	if m.r.IntN(2) == 0 {
		p.ExpiresAt = m.c.at.Add(time.Duration(1+m.r.IntN(7*24)) * time.Hour)
	}
	allowed := !k.isEnded(m.c.at) && k.successor == "" &&
		(p.ExpiresAt.IsZero() || k.expires.IsZero() || !p.ExpiresAt.After(k.expires))
	next, _, err := m.s.RotateKey(m.t.Context(), by, id, p)
	if !m.want("rotate "+id, err, allowed) {
		return
	}
	m.replace(k, next, p.ExpiresAt, revealsOf(k.mode), m.c.at.Add(time.Duration(k.every)*day))
}

// replace is what a rotation does to the map.
func (m *model) replace(k *modelKey, next *keystore.Key, ends time.Time, reveals int, then time.Time) {
	made := m.add(next, reveals)
	made.name, made.note, made.expires = k.name, k.note, time.Time{}
	if k.every > 0 {
		made.every, made.overlap, made.next = k.every, k.overlap, then
	}
	k.successor, k.every, k.next, k.overlap = next.ID, 0, time.Time{}, 0
	if ends.After(m.c.at) {
		k.expires = ends
	} else {
		k.ended = true
	}
}

func (m *model) end() {
	id, k := m.pick()
	_, err := m.s.EndRotation(m.t.Context(), by, id, keystore.EndRotationParams{})
	if m.want("end rotation "+id, err, !k.isEnded(m.c.at) && k.successor != "") {
		k.ended = true
	}
}

func (m *model) schedule() {
	id, k := m.pick()
	p := keystore.ScheduleParams{Overlap: time.Duration(m.r.IntN(8)) * day}
	at := m.c.at
	if m.r.IntN(2) == 0 {
		p.EveryDays = 1 + m.r.IntN(20)
		at = at.Add(time.Duration(p.EveryDays) * day)
	} else {
		p.At = at.Add(time.Duration(1+m.r.IntN(20*24)) * time.Hour)
		at = p.At
	}
	_, err := m.s.ScheduleRotation(m.t.Context(), by, id, p)
	if m.want("schedule "+id, err, !k.isEnded(m.c.at) && k.successor == "" && (k.expires.IsZero() || at.Before(k.expires))) {
		if same := k.every > 0 && k.every == p.EveryDays && k.overlap == p.Overlap; !same {
			k.next = at
		}
		k.every, k.overlap = p.EveryDays, p.Overlap
	}
}

func (m *model) remove() {
	id, k := m.pick()
	_, err := m.s.DeleteKey(m.t.Context(), by, id)
	if m.want("delete "+id, err, !k.deleted) {
		k.deleted, k.ended, k.next, k.every, k.overlap = true, true, time.Time{}, 0, 0
	}
}

// pass lets time go by, mostly forward, and runs the scheduler, mostly.
func (m *model) pass() {
	d := time.Duration(m.r.IntN(48)) * time.Hour
	if m.r.IntN(8) == 0 {
		d = time.Duration(-m.r.IntN(6)) * time.Hour
	}
	for _, k := range m.keys {
		k.isEnded(m.c.at) // what was seen so far stays
	}
	m.compare()
	m.c.at = m.c.at.Add(d)
	m.settle()
}

// settle runs the scheduler, and does to the map what the scheduler must have done.
func (m *model) settle() {
	m.want("run what is due", m.run.Run(m.t.Context()), true)
	for _, id := range slices.Clone(m.ids) {
		k := m.keys[id]
		due := !k.deleted && !k.next.IsZero() && !k.next.After(m.c.at)
		if due {
			real := keyNow(m.t, m.s, id)
			if real.Successor == "" {
				m.fail("%s was due and was not rotated", id)
			}
			ends, reveals := m.c.at.Add(k.overlap), 1
			if !k.expires.IsZero() && ends.After(k.expires) {
				ends = k.expires
			}
			if k.mode == policy.ModeSandbox {
				reveals = -1
			}
			then := k.next
			for k.every > 0 && !then.After(m.c.at) {
				then = then.Add(time.Duration(k.every) * day)
			}
			m.replace(k, keyNow(m.t, m.s, real.Successor), ends, reveals, then)
		}
		if k.isEnded(m.c.at) {
			k.next, k.every, k.overlap = time.Time{}, 0, 0
		}
		// A clock that was set back leaves neither an overlap nor an interval that is longer than any.
		if most := m.c.at.Add(keystore.MaxRotationOverlap); !k.ended && k.successor != "" && k.expires.After(most) {
			k.expires = most
		}
		if most := m.c.at.Add(time.Duration(k.every) * day); !k.ended && k.every > 0 && k.next.After(most) {
			k.next = most
		}
	}
}

func (m *model) fold() {
	m.log = append(m.log, "fold")
	m.s.FoldNow()
}

func (m *model) restart() {
	m.log = append(m.log, "restart")
	if err := m.s.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.open()
}

// compare holds the whole store against the map.
func (m *model) compare() {
	m.t.Helper()
	for id, want := range m.keys {
		k := keyNow(m.t, m.s, id)
		status := keystore.StatusActive
		switch {
		case want.deleted:
			status = keystore.StatusDeleted
		case want.isEnded(m.c.at):
			status = keystore.StatusExpired
		case !want.expires.IsZero():
			status = keystore.StatusExpiring
		}
		if k.Name != want.name || k.Note != want.note || k.Kind != want.kind || k.Mode != want.mode || k.Successor != want.successor ||
			k.Digest != want.digest || k.Status(m.c.at) != status || !want.ended && !k.ExpiresAt.Equal(want.expires) {
			m.fail("%s is %+v (%s), want %+v (%s)", id, k, k.Status(m.c.at), want, status)
		}
		if found, _ := m.s.Lookup(&want.digest); found == nil || found.ID != id {
			m.fail("%s is not found by its token", id)
		}
		allowed := judge(m.s, k, m.c.at) == policy.ReasonAllowed || judge(m.s, k, m.c.at) == policy.ReasonRouteUnknown
		if allowed != (status == keystore.StatusActive || status == keystore.StatusExpiring) {
			m.fail("%s is %s, let in: %v", id, status, allowed)
		}
		if !want.ended {
			if k.Revealable() != (want.reveals != 0) {
				m.fail("%s: revealable %v, want %d times", id, k.Revealable(), want.reveals)
			}
			if (k.Schedule != nil) != !want.next.IsZero() || k.Schedule != nil && (!k.Schedule.At.Equal(want.next) || k.Schedule.EveryDays != want.every || k.Schedule.Overlap != want.overlap) {
				m.fail("%s: schedule %+v, want %v every %d", id, k.Schedule, want.next, want.every)
			}
		}
	}
	for _, f := range []keystore.KeyFilter{{}, {Account: m.account}} {
		listed, last := 0, "z"
		next, err := m.s.Snapshot().EachKey(f, m.c.at)
		if err != nil {
			m.t.Fatal(err)
		}
		for k := next(); k != nil; k = next() {
			if now := keyNow(m.t, m.s, k.ID); k.ID >= last || k.Revision != now.Revision {
				m.fail("the list has %s at revision %d behind %s, the key is at %d", k.ID, k.Revision, last, now.Revision)
			}
			listed, last = listed+1, k.ID
		}
		if listed != len(m.keys)+4 {
			m.fail("%d keys are listed, want %d", listed, len(m.keys)+4)
		}
	}
	if got := m.s.Len(); got != len(m.keys)+4 { // the account's own
		m.fail("the store has %d keys, want %d", got, len(m.keys)+4)
	}
}

// TestModel does random things to a store in a file and to a plain map, with restarts in between, and compares.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &model{
				t: t, r: rand.New(rand.NewPCG(seed, 3)), c: newClock(), path: filepath.Join(t.TempDir(), "keys.db"), keys: map[string]*modelKey{},
			}
			m.open()
			t.Cleanup(func() { _ = m.s.Close() })
			a, _ := mustAccount(t, m.s, "A")
			m.account = a.ID
			for range 4 {
				m.create()
			}
			steps := map[string]struct {
				weight int
				do     func()
			}{
				"create": {3, m.create}, "edit": {3, m.edit}, "reveal": {5, m.reveal}, "rotate": {4, m.rotate}, "end": {3, m.end},
				"schedule": {5, m.schedule}, "delete": {1, m.remove}, "pass": {6, m.pass}, "restart": {1, m.restart}, "fold": {3, m.fold},
			}
			var bag []func()
			for _, name := range slices.Sorted(maps.Keys(steps)) {
				for range steps[name].weight {
					bag = append(bag, steps[name].do)
				}
			}
			for range 250 {
				bag[m.r.IntN(len(bag))]()
				m.compare()
			}
			m.restart()
			m.settle()
			m.compare()
		})
	}
}
