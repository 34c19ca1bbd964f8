package keystore_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

const day = 24 * time.Hour

func mustSchedule(t testing.TB, s *keystore.Store, id string, p keystore.ScheduleParams) *keystore.Key {
	t.Helper()
	k, err := s.ScheduleRotation(t.Context(), by, id, p)
	if err != nil {
		t.Fatalf("scheduling: %v", err)
	}
	return k
}

func mustRun(t testing.TB, r *keystore.Scheduler) {
	t.Helper()
	if err := r.Run(t.Context()); err != nil {
		t.Fatalf("running what is due: %v", err)
	}
}

func keyNow(t testing.TB, s *keystore.Store, id string) *keystore.Key {
	t.Helper()
	k, ok := s.Snapshot().Key(id)
	if !ok {
		t.Fatalf("key %s is gone", id)
	}
	return k
}

// chain is the ids of a key and of all that replaced it.
func chain(t testing.TB, s *keystore.Store, id string) []string {
	t.Helper()
	ids := []string{id}
	for k := keyNow(t, s, id); k.Successor != ""; k = keyNow(t, s, k.Successor) {
		ids = append(ids, k.Successor)
	}
	return ids
}

func TestScheduleErrors(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.ExpiresAt = c.at.Add(2 * day)
	short, _ := mustKey(t, s, p)
	live := standard[2].ID
	trail := len(events(t, backend))
	for _, tc := range []struct {
		name, id string
		params   keystore.ScheduleParams
		code     keystore.Code
		param    string
	}{
		{"nothing", live, keystore.ScheduleParams{Overlap: day}, keystore.CodeMissing, "at"},
		{"both", live, keystore.ScheduleParams{At: c.at.Add(day), EveryDays: 1}, keystore.CodeInvalid, "at"},
		{"now", live, keystore.ScheduleParams{At: c.at}, keystore.CodeInvalid, "at"},
		{"past", live, keystore.ScheduleParams{At: c.at.Add(-day)}, keystore.CodeInvalid, "at"},
		{"negative days", live, keystore.ScheduleParams{EveryDays: -1}, keystore.CodeInvalid, "every_days"},
		{"many days", live, keystore.ScheduleParams{EveryDays: 3651}, keystore.CodeInvalid, "every_days"},
		{"negative overlap", live, keystore.ScheduleParams{EveryDays: 1, Overlap: -1}, keystore.CodeInvalid, "overlap"},
		{"long overlap", live, keystore.ScheduleParams{EveryDays: 1, Overlap: 7*day + 1}, keystore.CodeInvalid, "overlap"},
		{"after its end", short.ID, keystore.ScheduleParams{At: c.at.Add(2 * day)}, keystore.CodeInvalid, "at"},
		{"every, after its end", short.ID, keystore.ScheduleParams{EveryDays: 2}, keystore.CodeInvalid, "every_days"},
		{"unknown", "key_none", keystore.ScheduleParams{EveryDays: 2}, keystore.CodeNotFound, ""},
		{"revision", live, keystore.ScheduleParams{EveryDays: 2, IfRevision: 99}, keystore.CodeRevision, ""},
	} {
		_, err := s.ScheduleRotation(t.Context(), by, tc.id, tc.params)
		wantError(t, tc.name, err, tc.code, tc.param)
	}
	if len(events(t, backend)) != trail {
		t.Error("a refused schedule left an event")
	}
}

func TestScheduleIsSetKeptAndTakenAway(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	_, standard := mustAccount(t, s, "A")
	id := standard[2].ID
	k := mustSchedule(t, s, id, keystore.ScheduleParams{EveryDays: 90, Overlap: day})
	if want := (keystore.RotationSchedule{At: c.at.Add(90 * day), EveryDays: 90, Overlap: day}); *k.Schedule != want {
		t.Errorf("schedule %+v, want %+v", *k.Schedule, want)
	}
	wantEvents(t, backend, "key.rotation_scheduled")
	trail := len(events(t, backend))
	c.at = c.at.Add(day)
	if again := mustSchedule(t, s, id, keystore.ScheduleParams{EveryDays: 90, Overlap: day}); !again.Schedule.At.Equal(k.Schedule.At) {
		t.Error("the same schedule once more has moved the next rotation")
	}
	if len(events(t, backend)) != trail {
		t.Error("the same schedule once more is an event")
	}
	if k = mustSchedule(t, s, id, keystore.ScheduleParams{At: c.at.Add(time.Hour)}); k.Schedule.EveryDays != 0 || k.Schedule.Overlap != 0 {
		t.Errorf("replaced: %+v", k.Schedule)
	}
	k, err := s.UnscheduleRotation(t.Context(), by, id, k.Revision)
	if err != nil || k.Schedule != nil {
		t.Errorf("UnscheduleRotation = %+v, %v", k, err)
	}
	wantEvents(t, backend, "key.rotation_unscheduled")
	trail = len(events(t, backend))
	if _, err := s.UnscheduleRotation(t.Context(), by, id, 0); err != nil || len(events(t, backend)) != trail {
		t.Errorf("a second time: %v", err)
	}
	c.at = c.at.Add(365 * day)
	mustRun(t, s.NewScheduler(t, "a"))
	if len(chain(t, s, id)) != 1 {
		t.Error("a key without a schedule was rotated")
	}
}

// TestScheduledRotation: made at its time, by nobody in particular, and revealed once.
func TestScheduledRotation(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, standard := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.Note, p.IPRanges, p.Metadata = "vault", []string{"10.0.0.0/8"}, map[string]string{"a": "1"}
	limited, _ := mustKey(t, s, p)
	run := s.NewScheduler(t, "a")
	at := c.at.Add(time.Hour)
	ids := []string{standard[0].ID, standard[1].ID, standard[2].ID, standard[3].ID, limited.ID}
	for _, id := range ids {
		mustSchedule(t, s, id, keystore.ScheduleParams{At: at, Overlap: day})
	}
	c.at = at.Add(-time.Millisecond)
	mustRun(t, run)
	wantEvents(t, backend, "key.rotation_scheduled")
	c.at = at
	mustRun(t, run)
	for _, id := range ids {
		old := keyNow(t, s, id)
		if old.Status(c.at) != keystore.StatusExpiring || !old.ExpiresAt.Equal(at.Add(day)) || old.Schedule != nil || old.Default {
			t.Errorf("%s: the old key is %+v", old.Mask, old)
		}
		made := keyNow(t, s, old.Successor)
		if made.Schedule != nil || made.CreatedBy != "scheduler" || made.Note != old.Note || !slices.Equal(made.IPRanges, old.IPRanges) ||
			!made.Revealable() || made.Predecessor != id || !made.Principal.Permissions.Equal(old.Principal.Permissions) {
			t.Errorf("%s: the replacement is %+v", old.Mask, made)
		}
		_, token, err := s.RevealKey(t.Context(), by, made.ID)
		if err != nil || token.Digest() != made.Digest {
			t.Errorf("%s: revealing the replacement: %v", old.Mask, err)
		}
		_, _, err = s.RevealKey(t.Context(), by, made.ID)
		if once := made.Mode == policy.ModeLive && made.Kind != policy.KindPublishable; !once && err != nil {
			t.Errorf("%s: revealing it again: %v", old.Mask, err)
		} else if once {
			wantError(t, old.Mask+": revealing it again", err, keystore.CodeAlreadyRevealed, "")
			if keystore.HasSealed(keyNow(t, s, made.ID)) {
				t.Errorf("%s: the sealed token is still there", old.Mask)
			}
		}
	}
	trail := events(t, backend)
	rotated := 0
	for _, e := range trail {
		if e.Type == keystore.EventKeyRotated {
			if rotated++; e.Actor.Kind != "system" || e.Actor.Name != "scheduler" {
				t.Errorf("%s by %+v", e.Type, e.Actor)
			}
		}
	}
	if rotated != len(ids) {
		t.Errorf("%d rotations, want %d", rotated, len(ids))
	}
}

func TestParallelRevealsOfAScheduledReplacement(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	mustSchedule(t, s, k.ID, keystore.ScheduleParams{At: c.at.Add(time.Second)})
	c.at = c.at.Add(time.Minute)
	mustRun(t, s.NewScheduler(t, "a"))
	made := keyNow(t, s, k.ID).Successor
	var got, refused atomic.Int64
	var group sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		group.Go(func() {
			<-start
			switch _, _, err := s.RevealKey(t.Context(), by, made); {
			case err == nil:
				got.Add(1)
			case keystore.CodeOf(err) == keystore.CodeAlreadyRevealed:
				refused.Add(1)
			}
		})
	}
	close(start)
	group.Wait()
	if got.Load() != 1 || refused.Load() != 63 {
		t.Errorf("%d reveals succeeded and %d were refused, want 1 and 63", got.Load(), refused.Load())
	}
}

// TestRepeatedSchedule goes over to the replacement and keeps its beat; what was missed is done once, also over a restart.
func TestRepeatedSchedule(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	began := c.at
	mustSchedule(t, s, k.ID, keystore.ScheduleParams{EveryDays: 10, Overlap: day})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		day, length, next int // the day of the run; how many keys there are then; the day of the next rotation
	}{
		{9, 1, 10}, {10, 2, 20}, {10, 2, 20}, {23, 3, 30}, {67, 4, 70}, {67, 4, 70}, {69, 4, 70}, {70, 5, 80},
	} {
		c.at = began.Add(time.Duration(step.day) * day)
		backend = backend.Reopen()
		s = keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: c.now})
		run := s.NewScheduler(t, "a")
		mustRun(t, run)
		mustRun(t, run)
		keys := chain(t, s, k.ID)
		if len(keys) != step.length {
			t.Fatalf("step %d: %d keys, want %d", i, len(keys), step.length)
		}
		last := keyNow(t, s, keys[len(keys)-1])
		if want := began.Add(time.Duration(step.next) * day); last.Schedule == nil || !last.Schedule.At.Equal(want) {
			t.Fatalf("step %d: the next rotation is %+v, want %v", i, last.Schedule, want)
		}
		if len(keys) > 1 {
			if before := keyNow(t, s, keys[len(keys)-2]); before.Schedule != nil || before.ExpiresAt.After(c.at.Add(day)) {
				t.Fatalf("step %d: the one before is %+v", i, before)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMissedScheduleOfAnExpiredKey: the replacement was promised, and comes late.
func TestMissedScheduleOfAnExpiredKey(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	p := restricted(a.ID)
	p.ExpiresAt = c.at.Add(2 * day)
	k, _ := mustKey(t, s, p)
	mustSchedule(t, s, k.ID, keystore.ScheduleParams{At: c.at.Add(day), Overlap: 7 * day})
	c.at = c.at.Add(30 * day)
	mustRun(t, s.NewScheduler(t, "a"))
	old := keyNow(t, s, k.ID)
	if old.Successor == "" || !old.EndedAt.Equal(p.ExpiresAt) || old.Status(c.at) != keystore.StatusExpired {
		t.Errorf("the old key is %+v", old)
	}
	if made := keyNow(t, s, old.Successor); made.Status(c.at) != keystore.StatusActive {
		t.Errorf("the replacement is %+v", made)
	}
}

// TestRotationByHandBeforeTheSchedule: a repeated schedule goes on with the replacement, one for a single time is done with.
func TestRotationByHandBeforeTheSchedule(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	often, _ := mustKey(t, s, restricted(a.ID))
	once, _ := mustKey(t, s, restricted(a.ID))
	mustSchedule(t, s, often.ID, keystore.ScheduleParams{EveryDays: 10, Overlap: day})
	mustSchedule(t, s, once.ID, keystore.ScheduleParams{At: c.at.Add(10 * day)})
	c.at = c.at.Add(5 * day)
	next, _, err := s.RotateKey(t.Context(), by, often.ID, keystore.RotateParams{ExpiresAt: c.at.Add(7 * day)})
	if err != nil || next.Schedule == nil || !next.Schedule.At.Equal(c.at.Add(10*day)) {
		t.Fatalf("the replacement is %+v, %v", next, err)
	}
	_, err = s.ScheduleRotation(t.Context(), by, often.ID, keystore.ScheduleParams{EveryDays: 1})
	wantError(t, "scheduling the old key", err, keystore.CodeConflict, "")
	if next, _, err = s.RotateKey(t.Context(), by, once.ID, keystore.RotateParams{}); err != nil || next.Schedule != nil {
		t.Fatalf("the replacement is %+v, %v", next, err)
	}
	c.at = c.at.Add(6 * day)
	mustRun(t, s.NewScheduler(t, "a"))
	if len(chain(t, s, often.ID)) != 2 || len(chain(t, s, once.ID)) != 2 {
		t.Error("a rotation that was made by hand was made again")
	}
}

// TestClockJumps: forth and back again. What ran early is not run again, and nothing is left that lies years ahead.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		s, backend, c := newStore(t)
		a, _ := mustAccount(t, s, "A")
		often, _ := mustKey(t, s, restricted(a.ID))
		mustSchedule(t, s, often.ID, keystore.ScheduleParams{EveryDays: 10, Overlap: day})
		run := s.NewScheduler(t, "a")
		mustRun(t, run)
		right := c.at
		c.at = right.Add(1000 * day)
		mustRun(t, run)
		c.at = right
		if restart {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			backend = backend.Reopen()
			s = keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: c.now})
			run = s.NewScheduler(t, "a")
		}
		mustRun(t, run)
		mustRun(t, run)
		keys := chain(t, s, often.ID)
		if len(keys) != 2 {
			t.Fatalf("restart %v: %d keys, want 2", restart, len(keys))
		}
		if old := keyNow(t, s, keys[0]); old.ExpiresAt.After(right.Add(keystore.MaxRotationOverlap)) {
			t.Errorf("restart %v: the old key goes on until %v", restart, old.ExpiresAt)
		}
		if made := keyNow(t, s, keys[1]); !made.Schedule.At.Equal(right.Add(10 * day)) {
			t.Errorf("restart %v: the next rotation is at %v", restart, made.Schedule.At)
		}
		for i := range 100 { // to and fro around a rotation
			c.at = right.Add(10*day + time.Duration(i%7-3)*time.Hour)
			mustRun(t, run)
		}
		if keys = chain(t, s, often.ID); len(keys) != 3 {
			t.Errorf("restart %v: %d keys after to and fro, want 3", restart, len(keys))
		}
	}
}

// TestLease: one at a time; it comes free when it ends, when it is given back, and when a wrong clock gave it.
func TestLease(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	one, two := s.NewScheduler(t, "a"), s.NewScheduler(t, "a") // of one name: a node that was started anew
	take := func(r *keystore.Scheduler, after time.Duration) error { return r.Take(t.Context(), c.at.Add(after)) }
	held := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, keystore.ErrLeaseHeld) {
			t.Errorf("%s: %v", what, err)
		}
	}
	free := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	free("the first", take(one, 0))
	held("the second", take(two, 0))
	free("the first again", take(one, 20*time.Second))
	held("after the first end", take(two, 31*time.Second))
	free("after the second end", take(two, 50*time.Second))
	held("the first, late", take(one, 51*time.Second))
	free("the clock was years ahead", take(two, 5000*day))
	free("and is set right", take(one, 0))

	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	mustSchedule(t, s, k.ID, keystore.ScheduleParams{At: c.at.Add(time.Second), Overlap: day})
	c.at = c.at.Add(2 * time.Second)
	held("running without the lease", two.Run(t.Context()))
	if len(chain(t, s, k.ID)) != 1 {
		t.Error("it ran without the lease")
	}
	mustRun(t, one)
	free("given back after the run", take(two, 0))
	if len(chain(t, s, k.ID)) != 2 {
		t.Error("it did not run with the lease")
	}
}

// TestTwoNodes: a node that thinks that it has the lease, and does not know what the other has done, does nothing twice.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	s, backend, c := newStore(t)
	a, _ := mustAccount(t, s, "A")
	k, _ := mustKey(t, s, restricted(a.ID))
	mustSchedule(t, s, k.ID, keystore.ScheduleParams{At: c.at.Add(time.Second), Overlap: day})
	other := keystoretest.NewStore(t, keystore.Options{Backend: backend.Reopen(), Now: c.now})
	c.at = c.at.Add(time.Minute)
	mustRun(t, s.NewScheduler(t, "a"))
	if err := other.NewScheduler(t, "b").Run(t.Context()); err == nil {
		t.Error("the other node did it once more")
	}
	if len(chain(t, s, k.ID)) != 2 || len(chain(t, other, k.ID)) != 1 {
		t.Error("the key was rotated twice")
	}
	wantEvents(t, backend, "key.created", "key.rotated")
}

// TestSchedulerFaults: whatever the backend does, the key is rotated once in the end.
func TestSchedulerFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []keystoretest.Fault{
		keystoretest.FaultLost, keystoretest.FaultPersisted, keystoretest.FaultBlindLost, keystoretest.FaultBlindPersisted,
	} {
		c := newClock()
		backend := &keystoretest.Faulty{Backend: keystoretest.NewMemory()}
		s := keystoretest.NewStore(t, keystore.Options{Backend: backend, Now: c.now})
		a, _ := mustAccount(t, s, "A")
		k, _ := mustKey(t, s, restricted(a.ID))
		mustSchedule(t, s, k.ID, keystore.ScheduleParams{EveryDays: 1, Overlap: time.Hour})
		run := s.NewScheduler(t, "a")
		c.at = c.at.Add(36 * time.Hour)
		backend.Break(fault)
		_ = run.Run(t.Context()) // it may fail, or not
		backend.Break(keystoretest.FaultNone)
		mustRun(t, run)
		mustRun(t, run)
		keys := chain(t, s, k.ID)
		if len(keys) != 2 {
			t.Fatalf("fault %d: %d keys, want 2", fault, len(keys))
		}
		if _, _, err := s.RevealKey(t.Context(), by, keys[1]); err != nil {
			t.Errorf("fault %d: revealing the replacement: %v", fault, err)
		}
	}
}

// TestSchedulerSleepsUntilDue runs the real thing: it wakes for what is due and for what becomes due, and ends with the
// store.
func TestSchedulerSleepsUntilDue(t *testing.T) {
	t.Parallel()
	master := keystoretest.MasterKey(t)
	synctest.Test(t, func(t *testing.T) {
		backend := keystoretest.NewMemory()
		s, err := keystore.Open(t.Context(), keystore.Options{Backend: backend, MasterKey: master})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := s.StartScheduler("a"); err != nil {
				t.Fatal(err)
			}
		}
		a, _ := mustAccount(t, s, "A")
		k, _ := mustKey(t, s, restricted(a.ID))
		time.Sleep(13 * time.Second)
		mustSchedule(t, s, k.ID, keystore.ScheduleParams{At: time.Now().Add(3 * time.Second), Overlap: 5 * time.Second})
		time.Sleep(2900 * time.Millisecond)
		synctest.Wait()
		if len(chain(t, s, k.ID)) != 1 {
			t.Error("rotated before its time")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if len(chain(t, s, k.ID)) != 2 {
			t.Error("not rotated at its time")
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if keyNow(t, s, k.ID).EndedAt.IsZero() {
			t.Error("the end was not written down at its time")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(keystore.HotGrace + time.Second)
	})
}
