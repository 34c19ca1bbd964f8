package requestlog

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// Names of the journal's files. The file being written is called after the time at which it was begun; a sealed one after
// the first and the last time of its records, so that a query knows without opening it whether it can hold an answer.
const (
	journalSuffix  = ".jsonl"
	parquetSuffix  = ".parquet" // an archive's, made of the sealed file of the same name
	openPrefix     = "open_"
	lockName       = "lock"
	fileTimeLayout = "20060102T150405.000Z"
)

func openName(begun time.Time, attempt int) string {
	return openPrefix + begun.UTC().Format(fileTimeLayout) + attemptSuffix(attempt) + journalSuffix
}

// sealedName is a sealed file's name, without its suffix.
func sealedName(s span, attempt int) string {
	from, to := min(s.first, millisecondOf(s.low)), max(s.last, millisecondOf(s.high))
	return formatMilli(from) + "_" + formatMilli(to) + attemptSuffix(attempt)
}

func formatMilli(ms int64) string {
	return cleanTime(time.UnixMilli(ms)).Format(fileTimeLayout)
}

// attemptSuffix tells files of the same time apart.
func attemptSuffix(attempt int) string {
	if attempt == 0 {
		return ""
	}
	return fmt.Sprintf("-%d", attempt)
}

// parseSealedName reads the bounds of a sealed file's name.
func parseSealedName(name, suffix string) (span, bool) {
	name, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return span{}, false
	}
	from, to, ok := strings.Cut(name, "_")
	if !ok {
		return span{}, false
	}
	to, _, _ = strings.Cut(to, "-")
	first, err1 := time.Parse(fileTimeLayout, from)
	last, err2 := time.Parse(fileTimeLayout, to)
	if err1 != nil || err2 != nil {
		return span{}, false
	}
	return span{
		first: first.UnixMilli(), last: last.UnixMilli(),
		low: positionOf(first), high: positionOf(last) | (1<<sequenceBits - 1),
	}, true
}

func isOpenName(name string) bool {
	return strings.HasPrefix(name, openPrefix) && strings.HasSuffix(name, journalSuffix)
}

// span is what a stretch of records covers: positions of ids and times, all inclusive. They are kept apart, since ids run on
// where a clock steps back.
type span struct {
	low, high   uint64 // positions
	first, last int64  // Unix milliseconds
}

// emptySpan covers nothing; it grows by add.
var emptySpan = span{low: 1<<64 - 1, first: 1<<63 - 1, last: -1 << 63}

func (s *span) add(position uint64, ms int64) {
	s.low, s.high = min(s.low, position), max(s.high, position)
	s.first, s.last = min(s.first, ms), max(s.last, ms)
}

// block is a stretch of whole lines of one file, read at once.
type block struct {
	span
	offset int64
	length int64
}

// blockSize is where a block ends: small enough that a page of fifty costs little, large enough that the index of 10 GiB
// stays at a few megabytes.
const blockSize = 128 << 10

// journalFile is one file of the journal. Its fields are guarded by Journal.mu, but for indexing.
type journalFile struct {
	path   string
	size   int64 // of whole lines
	begun  time.Time
	span   span
	sealed bool    // not written any more, and called by its sealed name
	counts *Counts // of its records; nil if an earlier process wrote it

	// blocks is the index, appended to only; open is the block that still grows (length 0: none). indexed is false for
	// files of an earlier process that no query has met yet.
	blocks  []block
	open    block
	indexed bool

	indexing sync.Mutex // one query builds the index, others wait for it
}

// add notes a line at the file's end.
func (f *journalFile) add(length int64, position uint64, ms int64) {
	if f.open.length == 0 {
		f.open = block{span: emptySpan, offset: f.size}
	}
	f.open.span.add(position, ms)
	f.open.length += length
	f.size += length
	f.span.add(position, ms)
	if f.open.length >= blockSize {
		f.closeBlock()
	}
}

// skip notes an unreadable stretch at the file's end: it belongs to no block.
func (f *journalFile) skip(length int64) {
	f.closeBlock()
	f.size += length
}

func (f *journalFile) closeBlock() {
	if f.open.length > 0 {
		f.blocks = append(f.blocks, f.open)
		f.open = block{}
	}
}
