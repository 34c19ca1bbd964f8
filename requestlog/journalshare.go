package requestlog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"
)

// What a store needs that keeps its newest records in a journal and moves sealed files into a form of its own. For a while
// both then hold the same records: the methods below leave out files that the caller has already.

// SealedFile is a file of the journal that is not written any more.
type SealedFile struct {
	Path string
	Size int64
}

// Sealed lists the sealed files, the oldest first.
func (j *Journal) Sealed() []SealedFile {
	j.mu.Lock()
	defer j.mu.Unlock()
	var list []SealedFile
	for _, f := range j.files {
		if f.sealed {
			list = append(list, SealedFile{f.path, f.size})
		}
	}
	slices.SortFunc(list, func(a, b SealedFile) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// Roll ends the file being written and seals it.
func (j *Journal) Roll() {
	j.wmu.Lock()
	j.retire()
	j.wmu.Unlock()
	j.sealRetired()
}

// EachSorted calls fn for every record of a sealed file in the order of ids, in memory that does not grow with the records'
// size. The record is fn's until it returns. Its texts may be kept longer, and are parts of a window of many lines, which then stays
// in memory as long as they do. skipped is how many lines could not be read.
func (j *Journal) EachSorted(ctx context.Context, path string, fn func(*Record) error) (skipped int, err error) {
	in, err := j.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return 0, err
	}
	lines, skipped, err := sortedLines(in, info.Size())
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	window := lineWindow{in: in, size: info.Size()}
	var r Record
	for i, l := range lines {
		if i%1024 == 0 && ctx.Err() != nil {
			return skipped, ctx.Err()
		}
		line, err := window.line(l.offset, int(l.length))
		if err != nil {
			return skipped, fmt.Errorf("%s: %w", path, err)
		}
		if err := decodeText(unsafe.String(unsafe.SliceData(line), len(line)), &r); err != nil { // nobody writes to the window again
			skipped++
			continue
		}
		if err := fn(&r); err != nil {
			return skipped, err
		}
	}
	return skipped, nil
}

// sortedLine is where a line lies, and what orders it.
type sortedLine struct {
	position uint64
	suffix   [suffixLen]byte
	offset   int64
	length   int32
}

// sortedLines finds the lines of a file and puts them in the order of their ids.
func sortedLines(in io.ReaderAt, size int64) (lines []sortedLine, skipped int, err error) {
	const usual = 700 // bytes of a line: a guess that spares growing
	lines = make([]sortedLine, 0, size/usual+1)
	var late []sortedLine // behind one that comes after them: long requests, few
	res, err := eachLine(in, size, func(offset int64, line []byte) bool {
		id, position, ok := lineID(line)
		if ok {
			l := sortedLine{position: position, offset: offset, length: int32(len(line))}
			copy(l.suffix[:], id[prefixLen+positionLen:])
			if n := len(lines); n > 0 && compareLines(&l, &lines[n-1]) < 0 {
				late = append(late, l)
			} else {
				lines = append(lines, l)
			}
		}
		return ok
	})
	slices.SortStableFunc(late, func(a, b sortedLine) int { return compareLines(&a, &b) })
	return mergeLines(lines, late), int(res.skipped), err
}

func compareLines(a, b *sortedLine) int {
	if c := cmp.Compare(a.position, b.position); c != 0 {
		return c
	}
	return bytes.Compare(a.suffix[:], b.suffix[:])
}

// mergeLines puts the late lines, which are in order, where they belong among those that are.
func mergeLines(lines, late []sortedLine) []sortedLine {
	at := len(lines)
	lines = append(lines, late...)
	for to := len(lines); len(late) > 0; to-- {
		if last := len(late) - 1; at > 0 && compareLines(&lines[at-1], &late[last]) > 0 {
			at--
			lines[to-1] = lines[at]
		} else {
			lines[to-1], late = late[last], late[:last]
		}
	}
	return lines
}

// lineWindow reads lines that lie nearly in order: a window goes forward over the file, and what lies elsewhere is read alone.
// What it answers is not written to again.
type lineWindow struct {
	in    io.ReaderAt
	size  int64
	begin int64
	bytes []byte
	next  int64 // behind the line that was read last
}

const windowBytes = 256 << 10

func (w *lineWindow) line(offset int64, length int) ([]byte, error) {
	end := w.begin + int64(len(w.bytes))
	before := w.next
	w.next = offset + int64(length)
	switch {
	case offset >= w.begin && w.next <= end:
	case offset >= w.begin && offset <= end || offset == before && offset > end:
		w.begin, w.bytes = offset, make([]byte, min(int64(max(windowBytes, length)), w.size-offset))
		if _, err := w.in.ReadAt(w.bytes, offset); err != nil {
			w.bytes = nil
			return nil, err
		}
	default: // a late line, ahead of its neighbours or behind them
		alone := make([]byte, length)
		_, err := w.in.ReadAt(alone, offset)
		return alone, err
	}
	at := offset - w.begin
	if at+int64(length) > int64(len(w.bytes)) {
		return nil, io.ErrUnexpectedEOF
	}
	return w.bytes[at : at+int64(length)], nil
}

// Forget deletes a sealed file: its records are kept elsewhere.
func (j *Journal) Forget(path string) error {
	j.drop(path)
	return errors.Join(ignoreMissing(j.fs.Remove(path)), j.syncDir())
}

// SetAside takes a sealed file out of the journal and gives it another name: it is damaged, and nobody reads it any more.
func (j *Journal) SetAside(path, name string) error {
	j.drop(path)
	return errors.Join(ignoreMissing(j.fs.Rename(path, filepath.Join(j.o.Dir, name))), j.syncDir())
}

func (j *Journal) drop(path string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files = slices.DeleteFunc(j.files, func(f *journalFile) bool { return f.sealed && f.path == path })
}

// ListWithout is List, as if the files of these paths were not there.
func (j *Journal) ListWithout(ctx context.Context, q Query, without map[string]bool) (Page, error) {
	return j.list(ctx, q, leftOut{paths: without})
}

// WalkWithout calls fn for the records that the filter selects, newest first, as if the files of these paths were not there. It
// answers the time behind which its bounded work ended, zero if everything was read.
func (j *Journal) WalkWithout(ctx context.Context, f Filter, without map[string]bool, fn func(*Record)) (time.Time, error) {
	return j.walk(ctx, f, leftOut{paths: without}, fn)
}

// SealedSpan reads the times of the first and the last record from the name of a sealed file, or of a file of that name with
// another suffix.
func SealedSpan(name, suffix string) (first, last time.Time, ok bool) {
	s, ok := parseSealedName(name, suffix)
	return time.UnixMilli(s.first).UTC(), time.UnixMilli(s.last).UTC(), ok
}

// JournalSuffix ends the names of a journal's files.
const JournalSuffix = journalSuffix
