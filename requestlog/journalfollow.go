package requestlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// What a store needs that sends its journal on to somewhere else: the lines in the order in which they were written, also those
// of the file that is still being written.

// JournalFile is a file of the journal, whatever it is called by now.
type JournalFile struct{ file *journalFile }

// FileState is what a file of the journal is like just now.
type FileState struct {
	JournalFile
	Path   string
	Size   int64 // of whole lines
	Sealed bool  // it will not be written any more
	First  int64 // when the first of its records began, in Unix milliseconds; of no meaning in an empty file
}

// JournalFiles lists the files in the order in which they were begun. The one that is being written is the last.
func (j *Journal) JournalFiles() []FileState {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]FileState, 0, len(j.files))
	for _, f := range j.files {
		list = append(list, FileState{JournalFile{f}, f.path, f.size, f.sealed, f.span.first})
	}
	return list
}

// ReadFrom calls fn for the records of a file from an offset on, in the order in which they were written, until about so
// many bytes are read or fn answers false. It answers the offset behind what was read, and how many lines could not be. The record is
// fn's until it returns; its texts may be kept.
func (j *Journal) ReadFrom(f JournalFile, offset, bytes int64, fn func(*Record) bool) (next int64, skipped int, err error) {
	j.mu.Lock()
	path, size := f.file.path, f.file.size
	in, err := j.fs.OpenFile(path, os.O_RDONLY, 0) // under the lock: it may be getting its sealed name
	j.mu.Unlock()
	if err != nil {
		return offset, 0, err
	}
	defer in.Close()
	lines := bufio.NewReaderSize(io.NewSectionReader(in, offset, size-offset), 64<<10)
	var r Record
	for next = offset; next < size && next-offset < bytes; {
		line, err := readLine(lines)
		switch {
		case errors.Is(err, io.EOF): // it ends without a newline, or before its end: somebody has cut it
			return size, skipped + 1, nil
		case err != nil: // half a line is not behind us: the disk may give it the next time
			return next, skipped, fmt.Errorf("%s at %d: %w", path, next, err)
		}
		next += int64(len(line))
		if err := decodeLine(line, &r); err != nil {
			skipped++
			continue
		}
		if !fn(&r) {
			break
		}
	}
	return next, skipped, nil
}

// readLine reads a line of any length. Those that are damaged may be as long as their file.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := append([]byte(nil), line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = in.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// Drop takes a sealed file out of the journal and leaves it on the disk, for Forget or SetAside to follow.
func (j *Journal) Drop(path string) { j.drop(path) }
