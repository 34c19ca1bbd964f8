package archive

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"slices"
	"unique"

	"go.uber.org/zap"
)

// usageName is the file in which usage outlasts the process. It is derived from the archived files: if it is lost or damaged,
// it is made anew from those.
const usageName = "usage"

const (
	usageMagic    = "keystile usage 1\n"
	maxUsageText  = 4096
	maxUsageFiles = 1 << 20
)

// The file is the magic line, then numbers as varints and texts with their lengths before them: whether keys were forgotten,
// the names of the files that it holds, and the keys; behind them a CRC-32 of everything. A text that was written before is
// written as its number.

// saveUsage writes the usage. The caller holds house, so that it does not change meanwhile.
func (a *Archive) saveUsage() error {
	if a.unsaved == 0 || !a.usage.ready {
		return nil
	}
	here := make(map[string]bool, len(a.view.files))
	for _, f := range a.view.files {
		here[f.name()] = true
	}
	a.mu.Lock()
	maps.DeleteFunc(a.usage.applied, func(name string, _ bool) bool { return !here[name] })
	a.mu.Unlock()
	_, err := a.replaceFile(a.join(usageName), func(out *outFile) error {
		w := &usageWriter{out: out.Writer, sum: crc32.NewIEEE(), texts: make(map[shared]uint64)}
		w.usage(a.usage)
		return w.err
	})
	if err != nil {
		return err
	}
	a.unsaved, a.saved = 0, a.o.Now()
	return a.syncDir()
}

type usageWriter struct {
	out   *bufio.Writer
	sum   hash.Hash32
	buf   []byte
	texts map[shared]uint64
	err   error
}

func (w *usageWriter) usage(u *usage) {
	w.raw([]byte(usageMagic))
	forgot := int64(0)
	if u.forgot {
		forgot = 1
	}
	w.numbers(forgot, int64(len(u.applied)))
	for _, name := range slices.Sorted(maps.Keys(u.applied)) {
		w.text(name)
	}
	w.numbers(int64(len(u.keys)))
	for key, use := range u.keys {
		w.text(key)
		w.numbers(use.requests, use.errors, use.first, use.last)
		for _, list := range use.seen {
			w.numbers(int64(len(list)))
			for _, s := range list {
				w.shared(s.value)
				w.numbers(s.requests, use.last-s.last)
			}
		}
	}
	w.buf = binary.LittleEndian.AppendUint32(w.buf[:0], w.sum.Sum32())
	if w.err == nil {
		_, w.err = w.out.Write(w.buf)
	}
}

func (w *usageWriter) raw(b []byte) {
	_, _ = w.sum.Write(b)
	if w.err == nil {
		_, w.err = w.out.Write(b)
	}
}

func (w *usageWriter) numbers(list ...int64) {
	w.buf = w.buf[:0]
	for _, v := range list {
		w.buf = binary.AppendVarint(w.buf, v)
	}
	w.raw(w.buf)
}

func (w *usageWriter) text(s string) {
	w.buf = append(binary.AppendVarint(w.buf[:0], int64(len(s))), s...)
	w.raw(w.buf)
}

// shared writes a text, or, where it was written before, its number, as a negative length.
func (w *usageWriter) shared(h shared) {
	if n, ok := w.texts[h]; ok {
		w.numbers(-int64(n) - 1)
		return
	}
	w.texts[h] = uint64(len(w.texts))
	w.text(h.Value())
}

var errUsage = errors.New("damaged usage file")

// load reads the usage that an earlier process left. Without a readable one it stays empty, and catchUp makes it anew.
func (u *usage) load(a *Archive, files []*file) {
	got, err := readUsage(a)
	if err == nil {
		*u = *got
	} else if ignoreMissing(err) != nil {
		a.errors.Add(1)
		a.logger.Warn("request log: what keys did cannot be read and is counted anew from the records", zap.Error(err))
	}
	u.ready = !slices.ContainsFunc(files, func(f *file) bool { return !u.applied[f.name()] })
}

func readUsage(a *Archive) (*usage, error) {
	in, err := a.fs.OpenFile(a.join(usageName), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, err
	}
	return decodeUsage(in, info.Size())
}

// decodeUsage checks the sum first, and reads then.
func decodeUsage(in io.ReaderAt, size int64) (*usage, error) {
	body := size - crc32.Size
	if body < int64(len(usageMagic)) {
		return nil, fmt.Errorf("%w: %d bytes", errUsage, size)
	}
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(in, 0, body)); err != nil {
		return nil, err
	}
	var want [crc32.Size]byte
	if _, err := in.ReadAt(want[:], body); err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(want[:]) != sum.Sum32() {
		return nil, fmt.Errorf("%w: its sum is wrong", errUsage)
	}
	r := &usageReader{in: bufio.NewReaderSize(io.NewSectionReader(in, 0, body), 64<<10)}
	u := r.usage()
	return u, r.err
}

// usageReader reads until the first failure; from then on everything is 0.
type usageReader struct {
	in    *bufio.Reader
	texts []shared
	err   error
}

func (r *usageReader) usage() *usage {
	magic := make([]byte, len(usageMagic))
	if _, err := io.ReadFull(r.in, magic); err != nil || string(magic) != usageMagic {
		r.fail()
	}
	u := newUsage()
	u.forgot = r.number(0, 1) != 0
	for range r.number(0, maxUsageFiles) {
		u.applied[r.text(r.number(0, maxUsageText))] = true
	}
	for range r.number(0, 2*maxUsageKeys) {
		key := r.text(r.number(0, maxUsageText))
		use := &keyUse[shared]{requests: r.number(0, maxNumber), errors: r.number(0, maxNumber), first: r.number(-maxNumber, maxNumber), last: r.number(-maxNumber, maxNumber)}
		for kind := range use.seen {
			n := r.number(0, maxSeenRead)
			if n > 0 {
				use.seen[kind] = make([]seen[shared], 0, n)
			}
			for range n {
				value := r.shared()
				use.seen[kind] = append(use.seen[kind], seen[shared]{value, r.number(0, maxNumber), use.last - r.number(-maxNumber, maxNumber)})
			}
		}
		if r.err != nil {
			return nil
		}
		u.keys[key] = use
	}
	return u
}

const (
	maxNumber   = 1 << 60
	maxSeenRead = 1000
)

func (r *usageReader) number(least, most int64) int64 {
	if r.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(r.in)
	if err != nil || v < least || v > most {
		r.fail()
		return 0
	}
	return v
}

func (r *usageReader) text(n int64) string {
	if r.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.in, b); err != nil {
		r.fail()
		return ""
	}
	return string(b)
}

func (r *usageReader) shared() shared {
	n := r.number(-maxNumber, maxUsageText)
	if n < 0 {
		if i := -n - 1; i < int64(len(r.texts)) {
			return r.texts[i]
		}
		r.fail()
		return unique.Make("")
	}
	h := unique.Make(r.text(n))
	r.texts = append(r.texts, h)
	return h
}

func (r *usageReader) fail() {
	if r.err == nil {
		r.err = errUsage
	}
}
