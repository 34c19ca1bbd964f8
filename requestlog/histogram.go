package requestlog

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The groupings of a histogram: by which column of the records its counts are told apart.
const (
	ByStatusClass = "status" // "2xx", "4xx", …; "none" for records without a status
	ByKey         = "key"
	ByResource    = "resource"
	ByDecision    = "decision"
)

// HistogramQuery asks how many records came in each stretch of time. Gap records are not counted.
type HistogramQuery struct {
	// Filter selects the records. Since and Until must both be set, and Until be later.
	Filter Filter
	// Bucket is the length of one stretch: whole minutes. Stretches begin at multiples of it (since 1970, in UTC), so that the
	// first and the last may reach over Since and Until; what lies outside of these is not counted.
	Bucket time.Duration
	// By is one of ByStatusClass, ByKey, ByResource and ByDecision.
	By string
}

// MaxBuckets is the most stretches of one histogram.
const MaxBuckets = 2000

// MaxGroups is how many groups a histogram tells apart: those with the most records. All others are counted under GroupOther.
const MaxGroups = 20

// Names of groups that are no value of the column.
const (
	GroupNone  = "none"  // records whose column is empty
	GroupOther = "other" // all groups behind the MaxGroups largest
)

// Histogram is the answer to a HistogramQuery.
type Histogram struct {
	Bucket time.Duration
	By     string
	// Groups lists the groups that occur, the largest first; GroupOther, if it occurs, is the last.
	Groups []string
	// Buckets are all stretches between Since and Until, the oldest first, also those without records.
	Buckets []HistogramBucket
	// Complete is false if the bounded work of one query ended before everything was counted: then the counts hold for the
	// newest part, and nothing is known of what is older than From.
	Complete bool
	From     time.Time // counted from here on: the query's Since if Complete
}

// HistogramBucket is one stretch.
type HistogramBucket struct {
	Time   time.Time // its beginning, UTC
	Counts []int64   // by group, in the order of Histogram.Groups
	Total  int64
}

// Histogram counts records by time and group.
func (l *Log) Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	return l.store.Histogram(ctx, q)
}

func (q *HistogramQuery) check() error {
	f := &q.Filter
	switch {
	case !slices.Contains([]string{ByStatusClass, ByKey, ByResource, ByDecision}, q.By):
		return &FilterError{"by", quoted(q.By) + " must be status, key, resource or decision"}
	case f.Since.IsZero():
		return &FilterError{"since", "must be given"}
	case f.Until.IsZero():
		return &FilterError{"until", "must be given"}
	case !f.Since.Before(f.Until):
		return &FilterError{"until", "must be later than since"}
	case q.Bucket < time.Minute || q.Bucket%time.Minute != 0:
		return &FilterError{"bucket", "must be whole minutes, 1m at least"}
	case int64(f.Until.Sub(f.Since)/q.Bucket) > MaxBuckets-2:
		return &FilterError{"bucket", fmt.Sprintf("%v makes more than %d stretches of the time asked for; take a longer one", q.Bucket, MaxBuckets)}
	}
	return nil
}

// Tally gathers the counts of one histogram, in bounded memory. Stores fill it; it is not safe for concurrent use.
type Tally struct {
	query  HistogramQuery
	groups map[string]*TallyGroup
	cells  int // counts of all groups
}

// maxTallyCells bounds the counts that a tally holds: some 2 MB and the groups' names. An installation may have millions of
// keys.
const maxTallyCells = 100_000

// TallyGroup gathers the counts of one group.
type TallyGroup struct {
	tally  *Tally
	into   *TallyGroup // what took its counts over, see fold; nil: nothing
	length int64       // of a stretch, in seconds
	counts []tallyCount
}

// tallyCount is how many records a stretch has, by its beginning in Unix seconds. The same stretch may come again.
type tallyCount struct{ begin, n int64 }

// NewTally begins a histogram.
func NewTally(q HistogramQuery) *Tally {
	return &Tally{query: q, groups: make(map[string]*TallyGroup)}
}

// Group is where the records of a group are counted. A group without any is none. The name is copied.
func (t *Tally) Group(name string) *TallyGroup {
	if g := t.groups[name]; g != nil {
		return g
	}
	if t.cells >= maxTallyCells || len(t.groups) >= maxTallyCells {
		t.fold()
	}
	g := t.newGroup()
	t.groups[strings.Clone(name)] = g
	return g
}

func (t *Tally) newGroup() *TallyGroup {
	return &TallyGroup{tally: t, length: int64(t.query.Bucket / time.Second)}
}

// Add counts n records of a group at a time.
func (t *Tally) Add(group string, at time.Time, n int64) { t.Group(group).add(at.Unix(), n) }

// AddMilli counts one record at a time in Unix milliseconds.
func (g *TallyGroup) AddMilli(ms int64) { g.add(floorDiv(ms, 1000), 1) }

// add counts n records. Times come nearly in order, so that the stretch is among the last ones, or new.
func (g *TallyGroup) add(seconds, n int64) {
	const near = 8
	if g.into != nil {
		g = g.into
	}
	begin := seconds - (seconds%g.length+g.length)%g.length
	for i := len(g.counts) - 1; i >= 0 && i >= len(g.counts)-near; i-- {
		if g.counts[i].begin == begin {
			g.counts[i].n += n
			return
		}
	}
	if len(g.counts) >= near && len(g.counts) == cap(g.counts) {
		if g.join(); len(g.counts) > cap(g.counts)/2 { // joining pays only where it frees much
			g.counts = slices.Grow(g.counts, cap(g.counts))
		}
	}
	g.counts = append(g.counts, tallyCount{begin, n})
	g.tally.cells++
}

// join makes one of the counts of one stretch.
func (g *TallyGroup) join() {
	slices.SortFunc(g.counts, func(a, b tallyCount) int { return cmp.Compare(a.begin, b.begin) })
	kept := g.counts[:0]
	for _, c := range g.counts {
		if last := len(kept) - 1; last >= 0 && kept[last].begin == c.begin {
			kept[last].n += c.n
		} else {
			kept = append(kept, c)
		}
	}
	g.tally.cells -= len(g.counts) - len(kept)
	g.counts = kept
}

// fold counts the smaller groups under GroupOther, until half of the room is free. All sums stay exact; a group that comes
// again behind that begins anew, so that of very many groups the largest are told apart as far as they stand out. Who holds
// a group that is gone goes on counting: for GroupOther.
func (t *Tally) fold() {
	groups := t.sorted()
	other := t.groups[GroupOther]
	if other == nil {
		other = t.newGroup()
		t.groups[GroupOther] = other
	}
	for i := len(groups) - 1; i >= MaxGroups && t.cells > maxTallyCells/2; i-- {
		g := groups[i].of
		if g == other {
			continue
		}
		t.cells -= len(g.counts)
		for _, c := range g.counts {
			other.add(c.begin, c.n)
		}
		g.counts, g.into = nil, other
		delete(t.groups, groups[i].name)
		if i%1024 == 0 {
			other.join()
		}
	}
	other.join()
	for name, g := range t.groups {
		if len(t.groups) <= maxTallyCells/2 {
			break
		}
		if len(g.counts) == 0 && g != other {
			g.into = other
			delete(t.groups, name)
		}
	}
}

// groupTotal is a group and how many records it has.
type groupTotal struct {
	name  string
	of    *TallyGroup
	total int64
}

// sorted lists the groups that have records, the largest first; GroupOther, if it occurs, is the last.
func (t *Tally) sorted() []groupTotal {
	groups := make([]groupTotal, 0, len(t.groups))
	for name, of := range t.groups {
		g := groupTotal{name: name, of: of}
		for _, c := range of.counts {
			g.total += c.n
		}
		if g.total > 0 {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, func(a, b groupTotal) int {
		return cmp.Or(isOther(a.name)-isOther(b.name), cmp.Compare(b.total, a.total), strings.Compare(a.name, b.name))
	})
	return groups
}

func isOther(group string) int {
	if group == GroupOther {
		return 1
	}
	return 0
}

// AddRecord counts one record. The filter is the caller's to ask.
func (t *Tally) AddRecord(r *Record) {
	if !r.IsGap() {
		t.Add(GroupOf(r, t.query.By), r.Time, 1)
	}
}

func (t *Tally) begin(at time.Time) int64 {
	seconds, length := at.Unix(), int64(t.query.Bucket/time.Second)
	return seconds - (seconds%length+length)%length
}

// GroupOf is the group of a record.
func GroupOf(r *Record, by string) string {
	var group string
	switch by {
	case ByStatusClass:
		return StatusClass(r.Status)
	case ByKey:
		group = r.Key
	case ByResource:
		group = r.Resource
	case ByDecision:
		group = r.Decision
	}
	return cmp.Or(group, GroupNone)
}

// StatusClass is the class of a status, such as "4xx"; GroupNone for what is no status.
func StatusClass(status int) string {
	if status < 100 || status > 999 {
		return GroupNone
	}
	return statusClasses[status/100]
}

var statusClasses = [...]string{1: "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"}

// Histogram is the answer. from is the time from which on everything was counted, zero if everything was.
func (t *Tally) Histogram(from time.Time) *Histogram {
	q := &t.query
	h := &Histogram{Bucket: q.Bucket, By: q.By, Complete: from.IsZero(), From: q.Filter.Since}
	if !h.Complete {
		h.From = from.UTC()
	}
	groups := t.sorted()
	for _, g := range groups[:min(len(groups), MaxGroups)] {
		h.Groups = append(h.Groups, g.name)
	}
	if len(groups) > MaxGroups {
		h.Groups = append(h.Groups, GroupOther)
	}
	step := int64(q.Bucket / time.Second)
	first := t.begin(q.Filter.Since)
	for begin := first; time.Unix(begin, 0).Before(q.Filter.Until); begin += step { // also one of which only a part of a second is asked for
		h.Buckets = append(h.Buckets, HistogramBucket{Time: time.Unix(begin, 0).UTC(), Counts: make([]int64, len(h.Groups))})
	}
	for i, g := range groups {
		at := min(i, MaxGroups)
		for _, c := range g.of.counts {
			if i := (c.begin - first) / step; i >= 0 && i < int64(len(h.Buckets)) {
				h.Buckets[i].Counts[at] += c.n
				h.Buckets[i].Total += c.n
			}
		}
	}
	return h
}
