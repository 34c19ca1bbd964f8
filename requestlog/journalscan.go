package requestlog

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// scan is one query at work.
type scan struct {
	journal *Journal
	filter  Filter
	needle  []byte // in every line that can match; empty: none is known
	want    int    // one more than the page holds: it says whether more follow
	after   string // sort key of the cursor, "" for none
	start   uint64 // no record above this position is asked for
	reach   span   // what the query can meet

	units   unitHeap
	pending []*Record // found, newest first, not yet known to be next
	out     []*Record
	room    PageRoom
	read    int64 // bytes
	buf     []byte
	scratch Record
	handles map[*journalFile]File
}

func (s *scan) close() {
	for _, h := range s.handles {
		_ = h.Close()
	}
}

// readBlock adds the block's records that the filter selects.
func (s *scan) readBlock(u unit) error {
	handle, err := s.open(u.file)
	if err != nil || handle == nil {
		return err
	}
	if int64(cap(s.buf)) < u.block.length {
		s.buf = make([]byte, u.block.length)
	}
	buf := s.buf[:u.block.length]
	if _, err := handle.ReadAt(buf, u.block.offset); err != nil {
		return fmt.Errorf("%s at %d: %w", s.journal.pathOf(u.file), u.block.offset, err)
	}
	s.read += u.block.length
	found := len(s.pending)
	for len(buf) > 0 {
		if len(s.needle) > 0 {
			i := bytes.Index(buf, s.needle)
			if i < 0 {
				break
			}
			buf = buf[bytes.LastIndexByte(buf[:i], '\n')+1:]
		}
		end := bytes.IndexByte(buf, '\n') + 1
		if end == 0 {
			end = len(buf)
		}
		s.line(buf[:end])
		buf = buf[end:]
	}
	if len(s.pending) > found {
		slices.SortFunc(s.pending, func(a, b *Record) int { return CompareIDs(b.ID, a.ID) })
		if most := min(s.want-len(s.out), s.room.Fit(s.pending)); len(s.pending) > most {
			clear(s.pending[most:])
			s.pending = s.pending[:most]
		}
	}
	return nil
}

// line adds one line's record if the filter selects it.
func (s *scan) line(line []byte) {
	if id, ms, ok := lineHead(line); ok && s.outOfReach(id, ms) {
		return
	}
	r := &s.scratch
	if err := decodeLine(line, r); err != nil {
		s.journal.skipped.Add(1)
		return
	}
	if s.after != "" && strings.Compare(sortKey(r.ID), s.after) >= 0 || !s.filter.Match(r) {
		return
	}
	s.pending = append(s.pending, r.clone())
}

// outOfReach tells from id and time alone that a line is not asked for.
func (s *scan) outOfReach(id []byte, ms int64) bool {
	return ms < s.reach.first || ms > s.reach.last || s.after != "" && string(id[prefixLen:]) >= s.after
}

// emit gives out the found records that nothing unread can precede.
func (s *scan) emit() {
	n := 0
	for n < len(s.pending) && !s.full() {
		r := s.pending[n]
		if position, _ := parseID(r.ID); len(s.units) > 0 && position <= s.units[0].highest {
			break
		}
		s.out = append(s.out, r)
		s.room.Take(r)
		n++
	}
	s.pending = slices.Delete(s.pending, 0, n)
}

// full says whether the page takes no further record.
func (s *scan) full() bool { return len(s.out) == s.want || s.room.Full() }

// trim is the page's records: all that was given out, without the one that only says that more follow.
func (s *scan) trim() []*Record { return s.out[:min(len(s.out), s.want-1)] }

func (s *scan) page() Page {
	p := Page{Records: s.trim()}
	if s.full() {
		p.More, p.Next = true, p.Records[len(p.Records)-1].ID
	}
	return p
}
