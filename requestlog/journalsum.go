package requestlog

import (
	"context"
	"time"
)

// Histogram counts, from the counts of each file where the query allows it, else by reading.
func (j *Journal) Histogram(ctx context.Context, q HistogramQuery) (*Histogram, error) {
	t := NewTally(q)
	from, err := j.TallyWithout(ctx, t, nil)
	if err != nil {
		return nil, err
	}
	return t.Histogram(from), nil
}

// KeySummary reads the key's records: the journal holds minutes, not days, so that this costs little.
func (j *Journal) KeySummary(ctx context.Context, key string) (*KeySummary, error) {
	s := new(KeySummary)
	if key == "" {
		return s, nil
	}
	_, err := j.walk(ctx, Filter{Key: key}, leftOut{}, s.Add)
	return s, err
}

// TallyWithout is Histogram's counting, as if the files of these paths were not there. It answers the time behind which its
// bounded work ended, zero if everything was counted.
func (j *Journal) TallyWithout(ctx context.Context, t *Tally, paths map[string]bool) (time.Time, error) {
	without := leftOut{paths: paths}
	parts, ok := t.query.Parts()
	if !ok {
		return j.walk(ctx, t.query.Filter, without, t.AddRecord)
	}
	var from time.Time
	for _, edge := range parts.Edges {
		cut, err := j.walk(ctx, edge, without, t.AddRecord)
		if err != nil {
			return from, err
		}
		from = later(from, cut)
	}
	if parts.Empty() {
		return from, nil
	}
	without.files = j.addCounts(t, parts, paths)
	cut, err := j.walk(ctx, parts.Minutes, without, t.AddRecord)
	return later(from, cut), err
}

// addCounts adds the counts of all files that have them, and answers those files.
func (j *Journal) addCounts(t *Tally, parts HistogramParts, without map[string]bool) map[*journalFile]bool {
	counted := make(map[*journalFile]bool)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, f := range j.files {
		if f.counts != nil && f.counts.Knows(t.query.By) && !without[f.path] {
			f.counts.AddTo(t, parts)
			counted[f] = true
		}
	}
	return counted
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// walkPages bounds one walk.
const walkPages = 100

// walk calls fn for the records that the filter selects, newest first. It answers the time behind which nothing was read, zero
// if everything was.
func (j *Journal) walk(ctx context.Context, f Filter, without leftOut, fn func(*Record)) (time.Time, error) {
	cursor := ""
	for range walkPages {
		page, err := j.list(ctx, Query{Filter: f, Limit: MaxLimit, After: cursor}, without)
		if err != nil {
			return time.Time{}, err
		}
		for _, r := range page.Records {
			fn(r)
		}
		if !page.More {
			return time.Time{}, nil
		}
		cursor = page.Next
	}
	position, _ := parseID(cursor)
	return time.UnixMilli(millisecondOf(position)).UTC(), nil
}
