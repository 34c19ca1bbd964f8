package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ChainPlace is a place in the chain of events: how many events stand up to there, and the hash of the last of them.
// Whoever notes one elsewhere can tell later whether anything before it was changed, also by somebody who could rewrite
// the whole store.
type ChainPlace struct {
	Seq  uint64
	Hash [sha256.Size]byte // zero at the start
}

// String is the place as text: "123:" and the hash in hexadecimal.
func (p ChainPlace) String() string {
	return strconv.FormatUint(p.Seq, 10) + ":" + hex.EncodeToString(p.Hash[:])
}

// ParseChainPlace reads what [ChainPlace.String] writes.
func ParseChainPlace(text string) (p ChainPlace, err error) {
	seq, hash, ok := strings.Cut(text, ":")
	sum, err := hex.DecodeString(hash)
	if !ok || err != nil || len(sum) != len(p.Hash) {
		return p, errors.New("want a number, a colon and 64 hexadecimal digits")
	}
	copy(p.Hash[:], sum)
	if p.Seq, err = strconv.ParseUint(seq, 10, 63); err != nil {
		return p, errors.New("want a number, a colon and 64 hexadecimal digits")
	}
	return p, nil
}

// ChainFault is the first place at which the chain of events does not hold.
type ChainFault struct {
	Seq    uint64 // of the event that is missing, wrong, or follows one that was changed
	ID     string // of the event that stands there, "" if it is missing or cannot be read
	Reason string // one sentence
}

// ChainReport is what a verification found.
type ChainReport struct {
	Fault    *ChainFault // nil: none so far
	Complete bool        // everything up to the head was checked; always true with a Fault
	Checked  uint64      // events that were read
	Place    ChainPlace  // up to where everything is in order; a further verification can go on from here
	Head     Head        // of the store, as the verification saw it last
}

// VerifyEvents walks the chain of events from a place (zero: the start) to the store's head, all from the backend, in
// constant memory. If ctx ends before that, the report is not complete, and that is no error: go on from its Place.
func (s *Store) VerifyEvents(ctx context.Context, from ChainPlace) (*ChainReport, error) {
	return verifyChain(ctx, s.backend, from)
}

func verifyChain(ctx context.Context, b Backend, from ChainPlace) (*ChainReport, error) {
	report := &ChainReport{Place: from}
	var err error
	if report.Head, err = b.Head(context.WithoutCancel(ctx)); err != nil {
		return nil, err
	}
	if from.Seq > report.Head.Events {
		report.fail(report.Head.Events+1, "", fmt.Sprintf("the store has %d events, fewer than there were", report.Head.Events))
		return report, nil
	}
	if from.Seq == 0 && from.Hash != (ChainPlace{}).Hash {
		return nil, invalid("after", "nothing stands before the first event: give no place, or one of a later event")
	}
	if err := report.startsAt(ctx, b, from); err != nil || report.Fault != nil {
		return report, err
	}
	for report.Place.Seq < report.Head.Events {
		if done, err := report.walk(ctx, b, report.Head.Events); done || err != nil {
			return report, err
		}
		if report.Place.Seq < report.Head.Events { // the rows ended before the head
			report.fail(report.Place.Seq+1, "", "the event is missing")
			return report, nil
		}
	}
	return report, report.end(ctx, b)
}

// startsAt checks that the event at the place where the walk begins is the one that was there before.
func (r *ChainReport) startsAt(ctx context.Context, b Backend, from ChainPlace) error {
	if from.Seq == 0 {
		return nil
	}
	found := false
	err := b.Events(ctx, from.Seq, from.Seq, false, func(row EventRow) error {
		found = true
		if sha256.Sum256(row.Body) != from.Hash {
			r.fail(row.Seq, eventID(row.Body), "the event, or one before it, is not the one that was there when this place was noted")
		}
		return nil
	})
	if err == nil && !found {
		r.fail(from.Seq, "", "the event is missing")
	}
	return err
}

// walk checks the events up to last. done: a fault was found, or time is over.
func (r *ChainReport) walk(ctx context.Context, b Backend, last uint64) (done bool, err error) {
	err = b.Events(ctx, r.Place.Seq+1, last, false, func(row EventRow) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.check(row); r.Fault != nil {
			return errEnough
		}
		return nil
	})
	switch {
	case r.Fault != nil:
		return true, nil
	case err != nil && ctx.Err() != nil:
		return true, nil //nolint:nilerr // time is over: the report says how far it came
	}
	return false, err
}

// check adds one event to the chain.
func (r *ChainReport) check(row EventRow) {
	want := r.Place.Seq + 1
	if row.Seq != want {
		r.fail(want, "", "the event is missing")
		return
	}
	r.Checked++
	e, err := DecodeEvent(row.Body)
	switch {
	case err != nil:
		r.fail(want, "", "the event cannot be read")
	case e.Previous != hexHash(r.Place.Hash):
		r.fail(want, e.ID, "the event does not follow from the one before it: one of the two was changed, removed or moved")
	case e.Seq != want:
		r.fail(want, e.ID, fmt.Sprintf("the event was made as number %d: it was moved", e.Seq))
	default:
		r.Place = ChainPlace{Seq: want, Hash: sha256.Sum256(row.Body)}
	}
}

// end checks that the chain ends where the head says. Commits may go on meanwhile: what they add is not checked, but it
// is no fault.
func (r *ChainReport) end(ctx context.Context, b Backend) error {
	if r.Place.Seq == r.Head.Events && r.Place.Hash != r.Head.Hash {
		r.fail(r.Place.Seq, "", "the newest event is not the one that the store's head names")
		return nil
	}
	var beyond uint64
	err := b.Events(context.WithoutCancel(ctx), r.Head.Events+1, 1<<62, true, func(row EventRow) error {
		beyond = row.Seq
		return errEnough
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if beyond > 0 { // written since we asked for the head, or not of this chain
		head, err := b.Head(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		if beyond > head.Events {
			r.fail(head.Events+1, "", fmt.Sprintf("events stand beyond the store's head, up to number %d", beyond))
			return nil
		}
	}
	r.Complete = true
	return nil
}

func (r *ChainReport) fail(seq uint64, id, reason string) {
	r.Complete = true
	r.Fault = &ChainFault{Seq: seq, ID: id, Reason: reason}
}

// eventID is the id in a body, "" if it cannot be read.
func eventID(body []byte) string {
	e, err := DecodeEvent(body)
	if err != nil || !plausibleID(e.ID) {
		return ""
	}
	return e.ID
}
