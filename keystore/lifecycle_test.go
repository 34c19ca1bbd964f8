package keystore_test

import (
	"slices"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// keyWorld is a store with one key in a state.
type keyWorld struct {
	t     *testing.T
	s     *keystore.Store
	c     *clock
	run   *keystore.Scheduler
	key   *keystore.Key
	owner *keystore.Account
}

func newKeyWorld(t *testing.T) *keyWorld {
	t.Helper()
	s, _, c := newStore(t)
	w := &keyWorld{t: t, s: s, c: c, run: s.NewScheduler(t, "a")}
	w.owner, _ = mustAccount(t, s, "A")
	w.key, _ = mustKey(t, s, keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.ModeSandbox, Account: w.owner.ID, Name: "r",
		Permissions: permissions("charges", policy.AccessRead),
	})
	return w
}

// standard takes one of the standard keys of a fresh account as the key.
func (w *keyWorld) standard(i int) {
	_, keys := mustAccount(w.t, w.s, "B")
	w.key = keys[i]
}

func (w *keyWorld) must(k *keystore.Key, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	_ = k
}

func (w *keyWorld) rotate(overlap time.Duration) (*keystore.Key, error) {
	p := keystore.RotateParams{}
	if overlap > 0 {
		p.ExpiresAt = w.c.at.Add(overlap)
	}
	k, _, err := w.s.RotateKey(w.t.Context(), by, w.key.ID, p)
	return k, err
}

func (w *keyWorld) patch(p keystore.KeyPatch) (*keystore.Key, error) {
	return w.s.UpdateKey(w.t.Context(), by, w.key.ID, p)
}

func (w *keyWorld) expireIn(d time.Duration) (*keystore.Key, error) {
	return w.patch(keystore.KeyPatch{ExpiresAt: keystore.To(w.c.at.Add(d))})
}

// keyStates is how a key comes into each state.
var keyStates = []struct {
	name  string
	enter func(w *keyWorld)
}{
	{"active", func(*keyWorld) {}},
	{"scheduled", func(w *keyWorld) {
		w.must(w.s.ScheduleRotation(w.t.Context(), by, w.key.ID, keystore.ScheduleParams{EveryDays: 30, Overlap: day}))
	}},
	{"expiring", func(w *keyWorld) { w.must(w.expireIn(10 * day)) }},
	{"rotating", func(w *keyWorld) { w.must(w.rotate(day)) }},
	{"in use", func(w *keyWorld) { // rotating, and still used
		w.must(w.rotate(day))
		k, _ := w.s.Lookup(&w.key.Digest)
		w.s.Touch(k, w.c.at, by4)
	}},
	{"past end", func(w *keyWorld) { w.must(w.expireIn(day)); w.c.at = w.c.at.Add(day) }},
	{"expired", func(w *keyWorld) { w.must(w.expireIn(day)); w.c.at = w.c.at.Add(day); mustRun(w.t, w.run) }},
	{"rotated", func(w *keyWorld) { w.must(w.rotate(0)) }},
	{"overlap over", func(w *keyWorld) { w.must(w.rotate(day)); w.c.at = w.c.at.Add(day); mustRun(w.t, w.run) }},
	{"deleted", func(w *keyWorld) { w.must(w.s.DeleteKey(w.t.Context(), by, w.key.ID)) }},
	{"publishable", func(w *keyWorld) { w.standard(3) }},
	{"pub. rotated", func(w *keyWorld) { w.standard(3); w.must(w.rotate(0)) }},
	{"live default", func(w *keyWorld) { w.standard(2) }},
	{"live revealed", func(w *keyWorld) {
		w.standard(2)
		_, _, err := w.s.RevealKey(w.t.Context(), by, w.key.ID)
		w.must(nil, err)
	}},
	{"live made", func(w *keyWorld) { w.key, _ = mustKey(w.t, w.s, restricted(w.owner.ID)) }},
	{"live by schedule", func(w *keyWorld) {
		k, _ := mustKey(w.t, w.s, restricted(w.owner.ID))
		mustSchedule(w.t, w.s, k.ID, keystore.ScheduleParams{At: w.c.at.Add(time.Second)})
		w.c.at = w.c.at.Add(time.Second)
		mustRun(w.t, w.run)
		w.key = keyNow(w.t, w.s, keyNow(w.t, w.s, k.ID).Successor)
	}},
}

// keyActions is what can be asked of a key.
var keyActions = []struct {
	name string
	do   func(w *keyWorld) error
}{
	{"edit", func(w *keyWorld) error { _, err := w.patch(keystore.KeyPatch{Note: keystore.To("n")}); return err }},
	{"end sooner", func(w *keyWorld) error { _, err := w.expireIn(time.Hour); return err }},
	{"end later", func(w *keyWorld) error { _, err := w.expireIn(20 * day); return err }},
	{"never end", func(w *keyWorld) error {
		_, err := w.patch(keystore.KeyPatch{ExpiresAt: keystore.Null[time.Time]()})
		return err
	}},
	{"reveal", func(w *keyWorld) error { _, _, err := w.s.RevealKey(w.t.Context(), by, w.key.ID); return err }},
	{"rotate", func(w *keyWorld) error { _, err := w.rotate(0); return err }},
	{"rotate later", func(w *keyWorld) error { _, err := w.rotate(day); return err }},
	{"schedule", func(w *keyWorld) error {
		_, err := w.s.ScheduleRotation(w.t.Context(), by, w.key.ID, keystore.ScheduleParams{EveryDays: 1})
		return err
	}},
	{"unschedule", func(w *keyWorld) error { _, err := w.s.UnscheduleRotation(w.t.Context(), by, w.key.ID, 0); return err }},
	{"end rotation", func(w *keyWorld) error {
		_, err := w.s.EndRotation(w.t.Context(), by, w.key.ID, keystore.EndRotationParams{})
		return err
	}},
	{"force end", func(w *keyWorld) error {
		_, err := w.s.EndRotation(w.t.Context(), by, w.key.ID, keystore.EndRotationParams{Force: true})
		return err
	}},
	{"duplicate", func(w *keyWorld) error {
		_, _, err := w.s.DuplicateKey(w.t.Context(), by, w.key.ID, keystore.KeyPatch{})
		return err
	}},
	{"delete", func(w *keyWorld) error { _, err := w.s.DeleteKey(w.t.Context(), by, w.key.ID); return err }},
}

// TestKeyStates is the state machine of a key: what each action does to a key in each state. "" keeps the state, a status is
// the key's afterwards, and anything else is the code of the refusal.
func TestKeyStates(t *testing.T) {
	t.Parallel()
	const (
		invalid  = string(keystore.CodeInvalid)
		ended    = string(keystore.CodeKeyEnded)
		conflict = string(keystore.CodeConflict)
		idle     = string(keystore.CodeNotRotating)
		inUse    = string(keystore.CodeKeyInUse)
		notDel   = string(keystore.CodeNotDeletable)
		again    = string(keystore.CodeAlreadyRevealed)
		never    = string(keystore.CodeNotRevealable)

		expiring = string(keystore.StatusExpiring)
		active   = string(keystore.StatusActive)
		expired  = string(keystore.StatusExpired)
		deleted  = string(keystore.StatusDeleted)
	)
	statuses := []string{expiring, active, expired, deleted}
	//                    edit   sooner    later     never    reveal rotate    later     schedule  unsched  end rot. force    duplic.  delete
	table := map[string][]string{
		"active":           {"", expiring, expiring, "", "", expired, expiring, "", "", idle, idle, "", deleted},
		"scheduled":        {"", expiring, expiring, "", "", expired, expiring, "", "", idle, idle, "", deleted},
		"expiring":         {"", "", "", active, "", expired, "", "", "", idle, idle, "", deleted},
		"rotating":         {"", "", invalid, invalid, "", conflict, conflict, conflict, "", expired, expired, "", deleted},
		"in use":           {"", "", invalid, invalid, "", conflict, conflict, conflict, "", inUse, expired, "", deleted},
		"past end":         {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "", deleted},
		"expired":          {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "", deleted},
		"rotated":          {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "", deleted},
		"overlap over":     {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "", deleted},
		"deleted":          {ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, ended, "", ended},
		"publishable":      {"", invalid, invalid, "", "", expired, expiring, "", "", idle, idle, invalid, notDel},
		"pub. rotated":     {ended, ended, ended, ended, "", ended, ended, ended, ended, ended, ended, invalid, notDel},
		"live default":     {"", expiring, expiring, "", "", expired, expiring, "", "", idle, idle, invalid, deleted},
		"live revealed":    {"", expiring, expiring, "", again, expired, expiring, "", "", idle, idle, invalid, deleted},
		"live made":        {"", expiring, expiring, "", never, expired, expiring, "", "", idle, idle, "", deleted},
		"live by schedule": {"", expiring, expiring, "", "", expired, expiring, "", "", idle, idle, "", deleted},
	}
	if len(table) != len(keyStates) {
		t.Fatalf("the table has %d states, there are %d", len(table), len(keyStates))
	}
	for _, state := range keyStates {
		row := table[state.name]
		if len(row) != len(keyActions) {
			t.Fatalf("%s: the row has %d columns, there are %d actions", state.name, len(row), len(keyActions))
		}
		for i, action := range keyActions {
			w := newKeyWorld(t)
			state.enter(w)
			before := keyNow(t, w.s, w.key.ID)
			revision := w.s.Snapshot().Revision()
			wantStatus, wantCode := string(before.Status(w.c.at)), ""
			switch {
			case slices.Contains(statuses, row[i]):
				wantStatus = row[i]
			case row[i] != "":
				wantCode = row[i]
			}
			err := action.do(w)
			after := keyNow(t, w.s, w.key.ID)
			if got := string(keystore.CodeOf(err)); got != wantCode || (err != nil) != (wantCode != "") {
				t.Errorf("%s, %s: got %v, want code %q", state.name, action.name, err, wantCode)
			}
			if got := string(after.Status(w.c.at)); got != wantStatus {
				t.Errorf("%s, %s: the key is %s afterwards, want %s", state.name, action.name, got, wantStatus)
			}
			if wantCode != "" && w.s.Snapshot().Revision() != revision {
				t.Errorf("%s, %s: refused, and yet something changed", state.name, action.name)
			}
			if after.Principal.Ended && (after.Schedule != nil || keystore.HasSealed(after)) {
				t.Errorf("%s, %s: an ended key keeps %+v", state.name, action.name, after)
			}
		}
	}
}

// TestEndRotation: within the last hour, and from whom it is taken.
func TestEndRotation(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	next, err := w.rotate(7 * day)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.s.EndRotation(t.Context(), by, next.ID, keystore.EndRotationParams{Force: true})
	wantError(t, "of the replacement", err, keystore.CodeNotRotating, "")
	old, _ := w.s.Lookup(&w.key.Digest)
	w.s.Touch(old, w.c.at, by4)
	w.c.at = w.c.at.Add(time.Hour - time.Millisecond)
	_, err = w.s.EndRotation(t.Context(), by, old.ID, keystore.EndRotationParams{})
	wantError(t, "within the hour", err, keystore.CodeKeyInUse, "")
	_, err = w.s.EndRotation(t.Context(), by, old.ID, keystore.EndRotationParams{IfRevision: 1})
	wantError(t, "of another revision", err, keystore.CodeRevision, "")
	w.c.at = w.c.at.Add(time.Millisecond)
	gone, err := w.s.EndRotation(t.Context(), by, old.ID, keystore.EndRotationParams{})
	if err != nil || !gone.EndedAt.Equal(w.c.at) || !gone.Principal.Ended || keystore.HasSealed(gone) {
		t.Errorf("EndRotation = %+v, %v", gone, err)
	}
	if now := keyNow(t, w.s, next.ID); now.Status(w.c.at) != keystore.StatusActive {
		t.Errorf("the replacement is %s", now.Status(w.c.at))
	}
}

// TestMovingTheEndOfARotation: to and fro within seven days of the rotation.
func TestMovingTheEndOfARotation(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	began := w.c.at
	w.must(w.rotate(day))
	w.c.at = w.c.at.Add(12 * time.Hour)
	for _, to := range []time.Duration{7 * day, 13 * time.Hour, 3 * day} {
		k, err := w.patch(keystore.KeyPatch{ExpiresAt: keystore.To(began.Add(to))})
		if err != nil || !k.ExpiresAt.Equal(began.Add(to)) {
			t.Errorf("to %v: %v", to, err)
		}
	}
	_, err := w.patch(keystore.KeyPatch{ExpiresAt: keystore.To(began.Add(7*day + time.Millisecond))})
	wantError(t, "past the seven days", err, keystore.CodeInvalid, "expires_at")
}
