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
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), maxLine)
	var long int64 // bytes of a line that is too long, so far
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			long += int64(len(line))
			continue
		case errors.Is(err, io.EOF):
			if res.torn = long + int64(len(line)); res.torn > 0 {
				res.skipped++
			}
			res.file.closeBlock()
			return res, nil
		case err != nil:
			return nil, err
		}
		position, ms, ok := lineKey(line)
		if long > 0 || !ok {
			res.file.skip(long + int64(len(line)))
			res.skipped++
			long = 0
			continue
		}
		res.file.add(int64(len(line)), position, ms)
	}
}

// lineKey reads what the index needs of a line.
func lineKey(line []byte) (position uint64, ms int64, ok bool) {
	if id, ms, ok := lineHead(line); ok {
		position, ok = parseID(id)
		return position, ms, ok
	}
	var r Record
	if err := decodeLine(line, &r); err != nil {
		return 0, 0, false
	}
	position, ok = parseID(r.ID)
	return position, r.Time.UnixMilli(), ok
}
