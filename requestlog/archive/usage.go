package archive

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/keystile/keystile/requestlog"
)

// What keys did is kept as files are archived, and on the disk beside them, so that asking costs one look-up and a read of the
// journal, and a restart answers the same. It is exact for the maxUsageKeys keys that were seen last, for all records that were
// ever archived, also those that retention has deleted since. Keys forgotten beyond that, and all keys while a lost usage file
// is made anew, are answered from the records that are kept, as far as bounded work goes.

// maxUsageKeys bounds the keys whose usage is kept: some 1 kB each at most.
const maxUsageKeys = 50_000

// usage is what keys did in the archived files. It is guarded by Archive.mu. Equal texts of all keys are held once.
type usage struct {
	keys    map[string]*keyUse[shared]
	applied map[string]bool // names of the files that it holds
	forgot  bool            // there were more keys than it holds
	ready   bool            // it holds all files
}

// shared is a text that is held once, however many keys were seen with it.
type shared = unique.Handle[string]

// usageDelta is what keys did in one file. Texts are known by their places in texts: comparing those is what costs most. None of
// them is a part of a record's line.
type usageDelta struct {
	keys      map[string]*keyUse[int32]
	texts     []string
	parsed    []netip.Addr // of texts that are addresses
	places    map[string]int32
	addresses map[netip.Addr]int32
	space     []seen[int32] // for the lists of further keys
	most      int           // texts before those that no list holds any more are let go
}

// fewDeltaTexts is how many texts are known without a look at who holds them: clients may send a new one with each request.
const fewDeltaTexts = 1 << 14

func newUsageDelta() *usageDelta {
	return &usageDelta{
		keys: make(map[string]*keyUse[int32]), places: make(map[string]int32), addresses: make(map[netip.Addr]int32),
		most: fewDeltaTexts,
	}
}

// place is where a text is known.
func (d *usageDelta) place(s string) int32 {
	at, ok := d.places[s]
	if !ok {
		at, s = int32(len(d.texts)), strings.Clone(s)
		d.texts, d.parsed = append(d.texts, s), append(d.parsed, netip.Addr{})
		d.places[s] = at
	}
	return at
}

// textPlace is place for a text that the key was probably just seen with.
func (d *usageDelta) textPlace(s string, list []seen[int32]) int32 {
	for _, have := range list[:min(len(list), 4)] {
		if d.texts[have.value] == s {
			return have.value
		}
	}
	return d.place(s)
}

// addressPlace is textPlace for an address.
func (d *usageDelta) addressPlace(a netip.Addr, list []seen[int32]) int32 {
	for _, have := range list[:min(len(list), 4)] {
		if d.parsed[have.value] == a {
			return have.value
		}
	}
	at, ok := d.addresses[a]
	if !ok {
		at = d.place(a.String())
		d.addresses[a], d.parsed[at] = at, a
	}
	return at
}

// newList is an empty list with space for some values.
func (d *usageDelta) newList() []seen[int32] {
	const few = 2
	if len(d.space) < few {
		d.space = make([]seen[int32], 512*few)
	}
	list := d.space[:0:few]
	d.space = d.space[few:]
	return list
}

// tidy lets the texts go that are in no list, if there are many.
func (d *usageDelta) tidy() {
	if len(d.texts) < d.most {
		return
	}
	texts, parsed := d.texts, d.parsed
	d.texts, d.parsed = nil, nil
	clear(d.places)
	clear(d.addresses)
	for _, u := range d.keys {
		for _, list := range u.seen {
			for i := range list {
				was := list[i].value
				list[i].value = d.place(texts[was])
				if a := parsed[was]; a.IsValid() {
					d.addresses[a], d.parsed[list[i].value] = list[i].value, a
				}
			}
		}
	}
	d.most = max(fewDeltaTexts, 2*len(d.texts))
}

// sharedTexts are the texts of a delta, made ones that are held once as they are asked for.
type sharedTexts struct {
	texts []string
	made  []shared
}

func (d *usageDelta) shared() *sharedTexts {
	return &sharedTexts{d.texts, make([]shared, len(d.texts))}
}

func (t *sharedTexts) at(place int32) shared {
	if t.made[place] == (shared{}) {
		t.made[place] = unique.Make(t.texts[place])
	}
	return t.made[place]
}

// keyUse is requestlog.KeySummary, packed: times are Unix milliseconds.
type keyUse[T comparable] struct {
	requests, errors int64
	first, last      int64
	seen             [seenKinds][]seen[T]
}

// The kinds of value that a key is seen with.
const (
	seenAddress = iota
	seenUserAgent
	seenResource
	seenKinds
)

type seen[T comparable] struct {
	value    T
	requests int64
	last     int64
}

func newUsage() *usage {
	return &usage{keys: make(map[string]*keyUse[shared]), applied: make(map[string]bool)}
}

func newKeyUse[T comparable]() *keyUse[T] { return &keyUse[T]{first: 1<<63 - 1, last: -1 << 63} }

// add counts a record.
func (d *usageDelta) add(r *requestlog.Record) {
	if r.IsGap() || r.Key == "" {
		return
	}
	u := d.keys[r.Key]
	if u == nil {
		u = newKeyUse[int32]()
		for kind := range u.seen {
			u.seen[kind] = d.newList()
		}
		d.keys[strings.Clone(r.Key)] = u
	}
	d.tidy()
	ms := r.Time.UnixMilli()
	u.requests++
	if r.Status >= 400 {
		u.errors++
	}
	u.first, u.last = min(u.first, ms), max(u.last, ms)
	if r.Client.IsValid() {
		u.saw(seenAddress, d.addressPlace(r.Client, u.seen[seenAddress]), 1, ms)
	}
	if r.UserAgent != "" {
		u.saw(seenUserAgent, d.textPlace(r.UserAgent, u.seen[seenUserAgent]), 1, ms)
	}
	if r.Resource != "" {
		u.saw(seenResource, d.textPlace(r.Resource, u.seen[seenResource]), 1, ms)
	}
}

// saw notes a value at its place, the latest first. The list is short: looking through it costs less than a map.
func (u *keyUse[T]) saw(kind int, value T, n, ms int64) {
	list := u.seen[kind]
	i := 0
	for i < len(list) && list[i].value != value {
		i++
	}
	switch {
	case i < len(list):
	case i < requestlog.MaxSeen:
		list = append(list, seen[T]{value: value, last: ms})
	case ms < list[i-1].last:
		return
	default:
		i--
		list[i] = seen[T]{value: value, last: ms}
	}
	list[i].requests += n
	list[i].last = max(list[i].last, ms)
	for ; i > 0 && list[i-1].last < list[i].last; i-- {
		list[i-1], list[i] = list[i], list[i-1]
	}
	u.seen[kind] = list
}

// merge adds what keys did in a file.
func (u *usage) merge(d *usageDelta, file string) {
	if u.applied[file] {
		return
	}
	u.applied[file] = true
	texts := d.shared()
	for key, more := range d.keys {
		have := u.keys[key]
		if have == nil {
			have = newKeyUse[shared]()
			u.keys[key] = have
		}
		mergeUse(have, more, texts)
	}
	u.forget()
}

func mergeUse(u *keyUse[shared], more *keyUse[int32], texts *sharedTexts) {
	u.requests += more.requests
	u.errors += more.errors
	u.first, u.last = min(u.first, more.first), max(u.last, more.last)
	for kind, list := range more.seen {
		for _, s := range slices.Backward(list) { // the latest last, so that it comes out first
			u.saw(kind, texts.at(s.value), s.requests, s.last)
		}
	}
}

// forget lets the keys go that were not seen for the longest time, a tenth of them at once.
func (u *usage) forget() {
	if len(u.keys) <= maxUsageKeys {
		return
	}
	u.forgot = true
	type keyTime struct {
		key  string
		last int64
	}
	list := make([]keyTime, 0, len(u.keys))
	for key, use := range u.keys {
		list = append(list, keyTime{key, use.last})
	}
	slices.SortFunc(list, func(a, b keyTime) int { return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.key, b.key)) })
	for _, k := range list[:len(list)-maxUsageKeys*9/10] {
		delete(u.keys, k.key)
	}
}

// catchUp adds the files that usage does not hold: those archived behind the last writing of it before a crash, or all, if
// what was written is lost.
func (u *usage) catchUp(ctx context.Context, a *Archive) {
	if u.ready {
		return
	}
	for _, f := range a.view.files {
		a.mu.Lock()
		done := u.applied[f.name()]
		a.mu.Unlock()
		if done {
			continue
		}
		d, whole := newUsageDelta(), false
		if ctx.Err() != nil || a.read(f, func(h *handle) (err error) {
			err = d.addFile(ctx, f, h)
			whole = err == nil
			return err
		}) != nil {
			return
		}
		if !whole && f.state.Load() == fileGood {
			return // the disk cannot be read just now: the next time, for the sums stay what they are from then on
		}
		a.mu.Lock()
		u.merge(d, f.name())
		a.mu.Unlock()
		a.unsaved++
	}
	a.mu.Lock()
	u.ready = true
	a.mu.Unlock()
}

// usageColumns are the columns that usage is made of.
var usageColumns = []string{"time", "status", "key", "resource", "client_address", "user_agent", "lost"}

func (d *usageDelta) addFile(ctx context.Context, f *file, h *handle) error {
	c, err := f.load(h)
	if err != nil {
		return err
	}
	for i := range c.groups {
		if ctx.Err() != nil {
			return errStop
		}
		r, err := h.rowGroup(i, &c.groups[i])
		if err != nil {
			return err
		}
		rows, err := r.selectRows(nil, nil)
		if err != nil {
			return err
		}
		records, err := r.records(rows, usageColumns)
		if err != nil {
			return err
		}
		for i := range records {
			d.add(&records[i])
		}
	}
	return nil
}

// KeySummary answers what a key did.
func (a *Archive) KeySummary(ctx context.Context, key string) (*requestlog.KeySummary, error) {
	s := new(requestlog.KeySummary)
	if key == "" {
		return s, nil
	}
	a.mu.Lock()
	v := a.view
	v.readers.Add(1)
	use := a.usage.keys[key]
	known := a.usage.ready && (use != nil || !a.usage.forgot)
	total := newKeyUse[shared]()
	if known && use != nil {
		total = use.clone()
	}
	a.mu.Unlock()
	defer v.readers.Done()
	if !known {
		return s, a.walk(ctx, requestlog.Filter{Key: key}, s.Add)
	}
	newest := newUsageDelta()
	_, err := a.journal.WalkWithout(ctx, requestlog.Filter{Key: key}, v.sources, newest.add)
	if more := newest.keys[key]; more != nil {
		mergeUse(total, more, newest.shared())
	}
	if total.requests > 0 {
		summarize(total, key, s)
	}
	return s, err
}

func (u *keyUse[T]) clone() *keyUse[T] {
	c := *u
	for kind := range c.seen {
		c.seen[kind] = slices.Clone(c.seen[kind])
	}
	return &c
}

func summarize(u *keyUse[shared], key string, s *requestlog.KeySummary) {
	s.Key, s.Requests, s.Errors = key, u.requests, u.errors
	s.FirstSeen, s.LastSeen = time.UnixMilli(u.first).UTC(), time.UnixMilli(u.last).UTC()
	lists := [seenKinds]*[]requestlog.Seen{&s.Addresses, &s.UserAgents, &s.Resources}
	for kind, list := range u.seen {
		for _, v := range list {
			*lists[kind] = append(*lists[kind], requestlog.Seen{
				Value: v.value.Value(), Requests: v.requests, LastSeen: time.UnixMilli(v.last).UTC(),
			})
		}
	}
}

// walkPages bounds one walk.
const walkPages = 20

// walk calls fn for the records that the filter selects, newest first, as far as bounded work goes.
func (a *Archive) walk(ctx context.Context, f requestlog.Filter, fn func(*requestlog.Record)) error {
	after := ""
	for range walkPages {
		page, err := a.List(ctx, requestlog.Query{Filter: f, Limit: requestlog.MaxLimit, After: after})
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			fn(r)
		}
		if !page.More {
			return nil
		}
		after = page.Next
	}
	return nil
}
