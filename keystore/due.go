package keystore

import "time"

// maxDueWork bounds what one look at the list of due keys takes from it.
const maxDueWork = 8192

// due is when something is to be done about the key: it ends, or is to be rotated. The zero time: never.
func (k *Key) due() time.Time {
	if k.Deleted || !k.EndedAt.IsZero() {
		return time.Time{}
	}
	at := k.ExpiresAt
	if k.Schedule != nil && (at.IsZero() || k.Schedule.At.Before(at)) {
		at = k.Schedule.At
	}
	return at
}

// dueWork is what is to be done, by ids of keys.
type dueWork struct {
	expired []string // have passed their end, which is not written down
	rotate  []string // their schedule says so
	unwind  []string // have an end or a schedule that only a wrong clock can have set
	count   int
}

func (w *dueWork) empty() bool { return w.count == 0 }

// dueWork looks at the keys that are due at now; if all, at those that will be due later as well.
func (v *Snapshot) dueWork(now time.Time, all bool) *dueWork {
	w := new(dueWork)
	next := v.keyView().walkDue()
	for k := next(); k != nil && w.count < maxDueWork && (all || !k.due().After(now)); k = next() {
		switch {
		case k.Schedule != nil && !k.Schedule.At.After(now):
			w.rotate = append(w.rotate, k.ID)
		case k.pastEnd(now):
			k.usage.end.set(k.ExpiresAt) // seen is seen, also if the clock is set back before it is written down
			w.expired = append(w.expired, k.ID)
		case k.overlapTooLong(now) || k.Schedule.tooFar(now):
			w.unwind = append(w.unwind, k.ID)
		default:
			continue
		}
		w.count++
	}
	return w
}
