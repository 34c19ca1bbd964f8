package requestlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// lineMark says where a line of the buffer ends, and what the index keeps of it.
type lineMark struct {
	end      int
	position uint64
	ms       int64
}

// maxNameAttempts is how many files may carry the same time in their names.
const maxNameAttempts = 1000

// Write appends the records as lines, in one write. If the disk takes only a part, the whole lines of it are kept and a torn
// one is cut off again.
func (j *Journal) Write(records []*Record) (stored int, err error) {
	j.wmu.Lock()
	defer j.wmu.Unlock()
	if j.closed {
		return 0, ErrClosed
	}
	if err := j.encode(records); err != nil {
		return 0, err
	}
	if err := j.prepare(int64(len(j.buf))); err != nil {
		return 0, err
	}
	n, err := j.sink.Write(j.buf)
	if n < len(j.buf) && err == nil {
		err = io.ErrShortWrite
	}
	j.dirty.Store(true)
	stored = j.note(n, records)
	if err != nil {
		j.suspend()
		return stored, fmt.Errorf("writing the journal: %w", err)
	}
	return stored, nil
}

// encode fills buf and lines.
func (j *Journal) encode(records []*Record) error {
	const keep = 4 << 20
	if cap(j.buf) > keep {
		j.buf = nil // do not hold on to what one extraordinary batch took
	}
	j.buf, j.lines = j.buf[:0], j.lines[:0]
	for _, r := range records {
		position, ok := parseID(r.ID)
		if !ok {
			return fmt.Errorf("record without a valid id: %s", quoted(r.ID))
		}
		var err error
		if j.buf, err = j.encoder.append(j.buf, r); err != nil {
			return fmt.Errorf("encoding a record: %w", err)
		}
		j.lines = append(j.lines, lineMark{len(j.buf), position, r.Time.UnixMilli()})
	}
	return nil
}

// note adds to the index the whole lines among the first n bytes, and answers how many those are.
func (j *Journal) note(n int, records []*Record) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	start := 0
	for i, l := range j.lines {
		if l.end > n {
			return i
		}
		j.current.add(int64(l.end-start), l.position, l.ms)
		j.current.counts.Add(records[i])
		start = l.end
	}
	return len(j.lines)
}

// suspend lets go of the file after a failed write, with nothing torn at its end; the next write opens it again.
func (j *Journal) suspend() {
	if err := j.handle.Truncate(j.current.size); err != nil {
		j.errors.Add(1)
	}
	_ = j.handle.Close()
	j.handle, j.sink = nil, nil
}

// prepare makes sure that a file is open for n further bytes.
func (j *Journal) prepare(n int64) error {
	if j.handle != nil && !j.stillThere() {
		j.abandon()
	}
	if j.current != nil && j.handle == nil {
		j.resume()
	}
	if j.handle != nil && !j.mustRoll(n) {
		return nil
	}
	file, handle, err := j.create()
	if err != nil {
		if j.handle != nil {
			return nil // no new file: better a file that is too large or too old than a lost record
		}
		return fmt.Errorf("beginning a journal file: %w", err)
	}
	j.retire()
	j.current, j.handle, j.sink = file, handle, zapcore.AddSync(handle)
	j.mu.Lock()
	j.files = append(j.files, file)
	j.mu.Unlock()
	return nil
}

func (j *Journal) mustRoll(n int64) bool {
	return j.current.size > 0 && (j.current.size+n > j.o.MaxFileSize || j.now().Sub(j.current.begun) >= j.o.MaxFileAge)
}

// stillThere says whether the file being written is still the one in the directory: somebody may have deleted either, and
// what is written then would be lost without an error.
func (j *Journal) stillThere() bool {
	have, err := j.handle.Stat()
	if err != nil {
		return false
	}
	want, err := j.fs.Stat(j.current.path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // a disk that does not answer has not lost the file
	}
	return os.SameFile(have, want)
}

// abandon forgets a file that was deleted under us, and others that went with it.
func (j *Journal) abandon() {
	j.errors.Add(1)
	if j.missing.allow(j.now()) {
		j.logger.Error("request log: the file being written was deleted; going on in a new one", zap.String("file", j.current.path))
	}
	_ = j.handle.Close()
	gone := j.current
	j.current, j.handle, j.sink = nil, nil, nil

	j.mu.Lock()
	defer j.mu.Unlock()
	j.files = slices.DeleteFunc(j.files, func(f *journalFile) bool {
		_, err := j.fs.Stat(f.path)
		return f == gone || errors.Is(err, fs.ErrNotExist)
	})
	if _, err := j.fs.Stat(filepath.Join(j.o.Dir, lockName)); errors.Is(err, fs.ErrNotExist) && j.lock != nil {
		_ = j.lock.Close() // of a file that is gone; create takes it anew
		j.lock = nil
	}
}

// resume opens the current file again after a failure. If that does not give the file as it was left, it stays as it is and
// a new one is begun.
func (j *Journal) resume() {
	handle, err := j.fs.OpenFile(j.current.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	info, err := handle.Stat()
	if err == nil && info.Size() > j.current.size {
		err = handle.Truncate(j.current.size)
	}
	if err != nil || info.Size() < j.current.size {
		_ = handle.Close()
		return
	}
	j.handle, j.sink = handle, zapcore.AddSync(handle)
}

// create begins a new file.
func (j *Journal) create() (*journalFile, File, error) {
	if err := j.fs.MkdirAll(j.o.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	if j.lock == nil {
		lock, err := j.fs.Lock(filepath.Join(j.o.Dir, lockName))
		if err != nil {
			return nil, nil, err
		}
		j.lock = lock
	}
	begun := j.now()
	for attempt := range maxNameAttempts {
		path := filepath.Join(j.o.Dir, openName(begun, attempt))
		handle, err := j.fs.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		return &journalFile{path: path, begun: begun, span: emptySpan, indexed: true, counts: NewCounts()}, handle, nil
	}
	return nil, nil, fmt.Errorf("more than %d files of %v", maxNameAttempts, begun.Format(time.RFC3339))
}

// retire hands the current file, if there is one, to the housekeeper. It never waits for it: a slow disk may hold up the
// sealing of files, not the writing.
func (j *Journal) retire() {
	if j.current == nil {
		return
	}
	j.mu.Lock()
	j.retired = append(j.retired, retiredFile{j.current, j.handle})
	j.mu.Unlock()
	j.current, j.handle, j.sink = nil, nil, nil
	signal(j.kick)
}
