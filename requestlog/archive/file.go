package archive

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog"
)

const parquetSuffix = ".parquet"

// span is what a stretch of records covers: positions of ids and times in Unix milliseconds, all inclusive.
type span struct {
	low, high   uint64
	first, last int64
}

var (
	emptySpan = span{low: 1<<64 - 1, first: 1<<63 - 1, last: -1 << 63}
	wholeSpan = span{high: 1<<64 - 1, first: -1 << 63, last: 1<<63 - 1}
)

func (s *span) add(position uint64, ms int64) {
	s.low, s.high = min(s.low, position), max(s.high, position)
	s.first, s.last = min(s.first, ms), max(s.last, ms)
}

// meets says whether two spans have anything in common.
func (s span) meets(o span) bool {
	return s.low <= o.high && o.low <= s.high && s.first <= o.last && o.first <= s.last
}

// within says whether all of the span lies in another.
func (s span) within(o span) bool {
	return s.low >= o.low && s.high <= o.high && s.first >= o.first && s.last <= o.last
}

// group is what is known of a row group without reading it.
type group struct {
	span   span
	Rows   int    `json:"rows"`
	Low    uint64 `json:"low"`
	High   uint64 `json:"high"`
	First  int64  `json:"first_ms"`
	Last   int64  `json:"last_ms"`
	blooms [len(bloomColumns)]bloomPlace
}

func (g *group) publish() {
	g.Low, g.High, g.First, g.Last = g.span.low, g.span.high, g.span.first, g.span.last
}
func (g *group) adopt() { g.span = span{g.Low, g.High, g.First, g.Last} }

// contents is what is kept in memory of each file that a query has met: some hundred bytes for each row group, and the counts.
type contents struct {
	groups []group
	counts *requestlog.Counts
}

// The states of a file. What a query finds damaged or gone, no other query reads; the housekeeper takes it out of the view.
const (
	fileGood = iota
	fileDamaged
	fileGone
)

// file is an archived file.
type file struct {
	path  string
	size  int64
	span  span // by its name
	state atomic.Int32

	loading  sync.Mutex // one query loads the contents, others wait
	contents atomic.Pointer[contents]
}

// newFile reads from a file's name what it covers; ok is false for what is no archived file.
func newFile(path string, size int64) (f *file, ok bool) {
	first, last, ok := requestlog.SealedSpan(filepath.Base(path), parquetSuffix)
	if !ok {
		return nil, false
	}
	low, _ := requestlog.Positions(first)
	_, high := requestlog.Positions(last)
	return &file{path: path, size: size, span: span{low: low, high: high, first: first.UnixMilli(), last: last.UnixMilli()}}, true
}

func (f *file) name() string { return filepath.Base(f.path) }

// source is the path of the journal's file that the file was made of.
func (f *file) source() string {
	return strings.TrimSuffix(f.path, parquetSuffix) + requestlog.JournalSuffix
}

var errDamaged = errors.New("damaged")

// load reads the file's metadata, unless it was read before.
func (f *file) load(h *handle) (*contents, error) {
	f.loading.Lock()
	defer f.loading.Unlock()
	if c := f.contents.Load(); c != nil {
		return c, nil
	}
	p, err := h.open()
	if err != nil {
		return nil, err
	}
	c := new(contents)
	groups, _ := p.file.Lookup(groupsKey)
	if err := json.Unmarshal([]byte(groups), &c.groups); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, groupsKey, err)
	}
	if len(c.groups) != len(p.file.RowGroups()) {
		return nil, fmt.Errorf("%w: %d row groups, %d described", errDamaged, len(p.file.RowGroups()), len(c.groups))
	}
	for i, rowGroup := range p.file.RowGroups() {
		g := &c.groups[i]
		if g.Rows <= 0 || g.Rows > maxGroupRows || int64(g.Rows) != rowGroup.NumRows() {
			return nil, fmt.Errorf("%w: %d rows in a row group, %d described", errDamaged, rowGroup.NumRows(), g.Rows)
		}
		g.adopt()
		if err := g.findBlooms(p, rowGroup); err != nil {
			return nil, err
		}
	}
	counts, _ := p.file.Lookup(countsKey)
	b, err := base64.StdEncoding.DecodeString(counts)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, countsKey, err)
	}
	c.counts = new(requestlog.Counts)
	if err := c.counts.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, countsKey, err)
	}
	f.contents.Store(c)
	return c, nil
}

// bloomPlace is where the bits of a bloom filter lie in the file; size 0: there is none.
type bloomPlace struct {
	offset int64
	size   int32
}

// findBlooms notes where the row group's bloom filters lie, so that asking one takes one small read.
func (g *group) findBlooms(p *openFile, rowGroup parquet.RowGroup) error {
	for i, name := range bloomColumns {
		place := p.places[name]
		if place < 0 {
			continue
		}
		filter, ok := rowGroup.ColumnChunks()[place].BloomFilter().(*parquet.FileBloomFilter)
		if !ok || filter == nil {
			continue
		}
		_, offset, size := filter.Outer()
		if size < 0 || size > maxBloomBytes {
			return fmt.Errorf("%w: a bloom filter of %d bytes", errDamaged, size)
		}
		g.blooms[i] = bloomPlace{offset, int32(size)}
	}
	return nil
}
