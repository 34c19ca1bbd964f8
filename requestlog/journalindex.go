package requestlog

import (
	"bufio"
	"errors"
	"io"
)

// maxLine bounds a line of the journal. The encoder's are a tenth of it at most; anything longer is damage.
const maxLine = 1 << 20

// indexResult is what scanning a file found.
type indexResult struct {
	file    journalFile // span, blocks, size
	torn    int64       // bytes behind the last whole line
	skipped uint64      // unreadable lines, the torn one included
}

// indexFile reads a file from its beginning and makes its index.
func indexFile(r io.ReaderAt, size int64) (*indexResult, error) {
	res := &indexResult{file: journalFile{span: emptySpan, indexed: true}}
	lines, err := eachLine(r, size, func(offset int64, line []byte) bool {
		_, position, ms, ok := lineKey(line)
		if !ok {
			return false
		}
		if offset > res.file.size {
			res.file.skip(offset - res.file.size)
		}
		res.file.add(int64(len(line)), position, ms)
		return true
	})
	if err != nil {
		return nil, err
	}
	if lines.whole > res.file.size {
		res.file.skip(lines.whole - res.file.size)
	}
	res.file.closeBlock()
	res.torn, res.skipped = size-lines.whole, lines.skipped
	return res, nil
}

// linesFound is what eachLine met.
type linesFound struct {
	whole   int64  // bytes up to the end of the last whole line
	skipped uint64 // unreadable lines, the torn one included
}

// eachLine calls fn for every whole line of a file. fn says whether it can be read.
func eachLine(r io.ReaderAt, size int64, fn func(offset int64, line []byte) (readable bool)) (found linesFound, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), maxLine)
	var long int64 // bytes of a line that is too long, so far
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long += int64(len(line))
			continue
		case errors.Is(err, io.EOF):
			if long+int64(len(line)) > 0 {
				found.skipped++
			}
			return found, nil
		case err != nil:
			return found, err
		}
		offset := found.whole + long
		found.whole = offset + int64(len(line))
		if long > 0 || !fn(offset, line) {
			found.skipped++
			long = 0
		}
	}
}

// lineID reads the id of a line, and nothing else where the encoder wrote it.
func lineID(line []byte) (id []byte, position uint64, ok bool) {
	const before = `{"id":"`
	if len(line) > len(before)+idLen && string(line[:len(before)]) == before && line[len(before)+idLen] == '"' {
		id = line[len(before) : len(before)+idLen]
		position, ok = parseID(id)
		return id, position, ok
	}
	id, position, _, ok = lineKey(line)
	return id, position, ok
}

// lineKey reads what an index needs of a line.
func lineKey(line []byte) (id []byte, position uint64, ms int64, ok bool) {
	if id, ms, ok := lineHead(line); ok {
		position, ok = parseID(id)
		return id, position, ms, ok
	}
	var r Record
	if err := decodeLine(line, &r); err != nil {
		return nil, 0, 0, false
	}
	position, ok = parseID(r.ID)
	return []byte(r.ID), position, r.Time.UnixMilli(), ok
}
