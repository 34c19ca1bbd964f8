package keystore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-memdb"
)

// Sealed counts what is sealed, by what it is.
type Sealed struct {
	Keys, Members, Webhooks int       // rows
	Kept                    int       // saved answers and what else is kept for a while
	KeptUntil               time.Time // when the last of these that are left to end is destroyed; zero: none is left
	SigningKeys             bool
}

func (n *Sealed) total() int {
	total := n.Keys + n.Members + n.Webhooks + n.Kept
	if n.SigningKeys {
		total++
	}
	return total
}

// words says in a sentence what is sealed under old keys.
func (n *Sealed) words() string {
	rows := n.Keys + n.Members + n.Webhooks
	if n.SigningKeys {
		rows++
	}
	if rows == 0 && !n.KeptUntil.IsZero() {
		return fmt.Sprintf("%d saved answers are still sealed under old keys, and are destroyed by %s: try again then", n.Kept, n.KeptUntil.Format(time.RFC3339))
	}
	return fmt.Sprintf("%d values are still sealed under old keys: run `keystile master-key promote` to seal them anew", n.total())
}

// oldSealed is what another key than the primary has sealed.
type oldSealed struct {
	Sealed
	keys, members, webhooks, kept []string // ids
}

const (
	resealBatch = 500 // rows of one commit
	resealKept  = 50  // kept values that are held up together

	// Of what other nodes are faster with: how often it is looked at again, and after what pause.
	resealLost  = 20
	resealPause = 100 * time.Millisecond
)

// sealedOld finds everything that the primary of a keyset does not open. It opens each value rather than to trust what the
// value says of its key. What is kept counts for as long as it is there, whatever a clock says of its end: a clock that is put right
// again would else leave an answer that nothing opens.
func (s *Store) sealedOld(ctx context.Context, r *ring) (*oldSealed, error) {
	old := new(oldSealed)
	isOld := func(sealed string, associated []byte) bool {
		if sealed == "" {
			return false
		}
		plain, err := r.current.Decrypt([]byte(sealed), associated)
		clear(plain)
		return err != nil
	}
	snap := s.snap.Load()
	next := snap.keyView().walk("", nil)
	for k := next(); k != nil; k = next() {
		if isOld(k.sealed, sealedFor(k.ID)) {
			old.keys = append(old.keys, k.ID)
		}
	}
	eachRow(snap.txn, tableMembers, func(m *Member) {
		if isOld(m.sealed, credentialsFor(m.ID)) {
			old.members = append(old.members, m.ID)
		}
	})
	eachRow(snap.txn, tableWebhooks, func(w *WebhookEndpoint) {
		if isOld(w.sealed, webhookSecretFor(w.ID)) || isOld(w.previous, webhookSecretFor(w.ID)) {
			old.webhooks = append(old.webhooks, w.ID)
		}
	})
	signing, err := s.backend.Meta(ctx, metaSigning)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	old.SigningKeys = signing != nil && isOld(string(signing), signingFor)
	s.dropAnswers() // what is over need not be sealed anew
	err = s.backend.LoadKept(ctx, func(row KeptRow) error {
		_, sealed, associated, ok := sealedKept(row)
		if !ok || !isOld(string(sealed), associated) {
			return nil
		}
		old.kept = append(old.kept, strings.Clone(row.ID))
		if s.leftToEnd(row.ID) && row.Expires.After(old.KeptUntil) {
			old.KeptUntil = row.Expires
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading what is kept: %w", err)
	}
	old.Keys, old.Members, old.Webhooks, old.Kept = len(old.keys), len(old.members), len(old.webhooks), len(old.kept)
	return old, nil
}

func eachRow[R any](txn *memdb.Txn, table string, do func(*R)) {
	it, err := txn.Get(table, indexID)
	if err != nil {
		panic(fmt.Sprintf("keystore: reading %s: %v", table, err)) // a fault of this package
	}
	for raw := it.Next(); raw != nil; raw = it.Next() {
		if row, ok := raw.(*R); ok {
			do(row)
		}
	}
}

// sealedKept takes a kept value apart: what stands before the sealed part, that part, and what it is bound to. Values that
// are not sealed are not ok.
func sealedKept(row KeptRow) (before, sealed, associated []byte, ok bool) {
	if name, is := strings.CutPrefix(row.ID, "secret "); is {
		return nil, row.Data, secretFor(name, row.Expires), true
	}
	if endpoint, is := strings.CutPrefix(row.ID, "webhook "); is {
		return nil, row.Data, webhookStateFor(endpoint), true
	}
	if len(row.ID) == 2*sha256.Size && len(row.Data) >= sha256.Size { // a saved answer
		return row.Data[:sha256.Size], row.Data[sha256.Size:], answerFor(row.ID, row.Data[:sha256.Size], row.Expires), true
	}
	return nil, nil, nil, false
}

// leftToEnd says whether a kept value is not sealed anew but left until its end, within a day. Other nodes may destroy it at
// any moment, a verification code that was used for one, and to write it anew would bring it back.
func (s *Store) leftToEnd(id string) bool {
	return s.shared != nil && !strings.HasPrefix(id, "webhook ")
}

// reseal seals everything anew that another key than the primary has sealed, in batches, and answers how much that was. It
// ends when a look finds nothing more. What it has done stays done if it fails in between.
func (s *Store) reseal(ctx context.Context, by Actor) (*Sealed, error) {
	done := new(Sealed)
	for beaten := 0; ; {
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
		r := s.seal.ring.Load()
		old, err := s.sealedOld(ctx, r)
		if err != nil {
			return nil, err
		}
		old.kept = slices.DeleteFunc(old.kept, s.leftToEnd)
		done.KeptUntil = old.KeptUntil
		if len(old.keys)+len(old.members)+len(old.webhooks)+len(old.kept) == 0 && !old.SigningKeys {
			return done, nil
		}
		before := done.total()
		if err := s.resealRows(ctx, by, r, old, done); err != nil {
			return nil, err
		}
		if old.SigningKeys {
			if err := s.resealSigning(ctx, r); err != nil {
				return nil, err
			}
			done.SigningKeys = true
		}
		lost, kept := false, done.Kept
		for ids := range slices.Chunk(old.kept, resealKept) {
			n, faster, err := s.resealKept(ctx, r, ids)
			if err != nil {
				return nil, err
			}
			done.Kept += n
			lost = lost || faster
		}
		if done.total() == before && !old.SigningKeys && !lost {
			return done, nil // what was found is gone by now
		}
		switch {
		case !lost || done.Kept > kept:
			beaten = 0
		case beaten >= resealLost:
			return nil, conflict("", "another node goes on changing the state of webhooks under an old key: try again once it has turned to key %d", r.primary)
		default:
			beaten++
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(resealPause):
			}
		}
	}
}

// resealRows seals rows anew, a batch with its event in each commit.
func (s *Store) resealRows(ctx context.Context, by Actor, r *ring, old *oldSealed, done *Sealed) error {
	tables := []struct {
		ids  []string
		one  func(*change, *ring, string) (bool, error)
		done *int
	}{
		{old.keys, (*change).resealKey, &done.Keys},
		{old.members, (*change).resealMember, &done.Members},
		{old.webhooks, (*change).resealWebhook, &done.Webhooks},
	}
	for _, table := range tables {
		for ids := range slices.Chunk(table.ids, resealBatch) {
			n := 0
			err := s.write(ctx, by, func(c *change) error {
				n = 0
				for _, id := range ids {
					changed, err := table.one(c, r, id)
					if err != nil {
						return err
					}
					if changed {
						n++
					}
				}
				if n == 0 {
					return nil
				}
				return c.event(EventMasterKeyResealed, fmt.Sprint(r.primary), "", "", nil, map[string]any{"objects": n})
			})
			if err != nil {
				return err
			}
			*table.done += n
		}
	}
	return nil
}

// again seals a value anew under the primary. One that the primary opens stays as it is.
func (r *ring) again(sealed string, associated []byte, what string) (string, bool, error) {
	if sealed == "" {
		return "", false, nil
	}
	plain, err := r.current.Decrypt([]byte(sealed), associated)
	if err == nil {
		clear(plain)
		return sealed, false, nil
	}
	if plain, err = r.all.Decrypt([]byte(sealed), associated); err != nil {
		// Fail closed: the old keys stay while something is there that nobody can say what it is sealed under.
		return "", false, conflict("", "the secret of %s does not open under any master key: end or delete it, and repeat", what)
	}
	defer clear(plain)
	next, err := r.current.Encrypt(plain, associated)
	if err != nil {
		return "", false, fmt.Errorf("sealing the secret of %s: %w", what, err)
	}
	return string(next), true, nil
}

// The objects keep their revision: nothing has changed of what anybody sees of them.

func (c *change) resealKey(r *ring, id string) (bool, error) {
	k, ok := c.keyView().byID(id)
	if !ok {
		return false, nil
	}
	sealed, changed, err := r.again(k.sealed, sealedFor(id), id)
	if err != nil || !changed {
		return false, err
	}
	next := *k
	next.sealed = sealed
	return true, c.stageKey(&next)
}

func (c *change) resealMember(r *ring, id string) (bool, error) {
	m, ok := first[*Member](c.txn, tableMembers, indexID, id)
	if !ok {
		return false, nil
	}
	sealed, changed, err := r.again(m.sealed, credentialsFor(id), id)
	if err != nil || !changed {
		return false, err
	}
	next := *m
	next.sealed = sealed
	return true, c.put(TableMember, tableMembers, id, &next, next.encode())
}

func (c *change) resealWebhook(r *ring, id string) (bool, error) {
	w, ok := first[*WebhookEndpoint](c.txn, tableWebhooks, indexID, id)
	if !ok {
		return false, nil
	}
	sealed, changed, err := r.again(w.sealed, webhookSecretFor(id), id)
	if err != nil {
		return false, err
	}
	previous, alsoChanged, err := r.again(w.previous, webhookSecretFor(id), id)
	if err != nil || !changed && !alsoChanged {
		return false, err
	}
	next := *w
	next.sealed, next.previous = sealed, previous
	return true, c.put(TableWebhook, tableWebhooks, id, &next, next.encode())
}

func (s *Store) resealSigning(ctx context.Context, r *ring) error {
	stored, err := s.backend.Meta(ctx, metaSigning)
	if err != nil {
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	if stored == nil {
		return nil
	}
	sealed, changed, err := r.again(string(stored), signingFor, "the signing keys")
	if err != nil || !changed {
		return err
	}
	swapped, err := s.backend.SwapMeta(ctx, metaSigning, stored, []byte(sealed))
	if err != nil {
		return fmt.Errorf("saving the signing keys: %w", err)
	}
	if swapped && s.shared != nil {
		s.rememberMeta(metaSigning, []byte(sealed))
	}
	return nil // if somebody was faster, the next look finds it
}

// resealKept seals kept values anew, and says of how many it did, and whether somebody was faster with one. On this node nobody
// saves one in between. Another node may, or may destroy it with its endpoint: what it did stays, and the next look finds it.
func (s *Store) resealKept(ctx context.Context, r *ring, ids []string) (n int, faster bool, err error) {
	s.mu.Lock() // of the states of webhooks
	defer s.mu.Unlock()
	s.answers.mu.Lock() // of everything else
	defer s.answers.mu.Unlock()
	if s.closed {
		return 0, false, unavailable("the key store is closed")
	}
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.commitTime())
	defer cancel()
	slices.Sort(ids) // who changes several of them begins with the same
	var swaps []KeptSwap
	for _, id := range ids {
		row, err := s.backend.Kept(ctx, id)
		if err != nil {
			return 0, false, fmt.Errorf("reading what is kept: %w", err)
		}
		if row == nil {
			continue
		}
		before, sealed, associated, ok := sealedKept(*row)
		if !ok {
			continue
		}
		next, changed, err := r.again(string(sealed), associated, "a kept value")
		if err != nil {
			return 0, false, err
		}
		if changed {
			swaps = append(swaps, KeptSwap{ID: id, Old: row.Data, Data: append(bytes.Clone(before), next...)})
		}
	}
	if len(swaps) == 0 {
		return 0, false, nil
	}
	swapped, err := s.backend.SwapKept(ctx, swaps)
	if err != nil {
		return 0, false, fmt.Errorf("saving what is kept: %w", err)
	}
	for i, swap := range swaps {
		if !swapped[i] {
			faster = true
			continue
		}
		n++
		if ref, ok := s.answers.byID[swap.ID]; ok {
			s.answers.bytes += len(swap.Data) - ref.size
			s.answers.byID[swap.ID] = answerRef{expires: ref.expires, size: len(swap.Data)}
		}
	}
	return n, faster, nil
}
