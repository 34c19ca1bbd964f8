package keystore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"
)

// The copy file of a node of a fleet holds the last state that the node had in memory, so that it can start while the
// database is away. It holds what the database holds of keys (no secret token but sealed ones), 0600, and when that was
// last known to be the newest state: an old copy opens nobody's door, because a store that starts from it is as stale as
// the copy.
//
// After the header come frames: a head, its rows, and then each further change as it was applied. A frame is written before
// the other nodes are told that the change is in force here: also a node that restarts without the database knows of every
// change that it has said to have applied. A frame that is cut off ends the file.
//
//	header: magic (16 bytes), when it was confirmed (8 bytes, milliseconds since 1970) and the CRC of those 8 (4 bytes)
//	frame:  length (4 bytes) and CRC-32C (4 bytes) of what follows: a kind (1 byte) and its body
const (
	copyMagic    = "keystile copy 1\n"
	copyStampAt  = int64(len(copyMagic))
	copyBegin    = copyStampAt + 12
	copyMaxFrame = 64 << 20
)

// The kinds of frames.
const (
	frameStart  = 's' // JSON, copyStart: what the file begins with
	frameRows   = 'r' // rows of the state that the start names
	frameReady  = 'e' // all of them were written
	frameChange = 'c' // a head, and the rows that lead to it
)

// copyStart is the first frame.
type copyStart struct {
	Head Head              `json:"head"`
	Keys int               `json:"keys"`
	Meta map[string][]byte `json:"meta"` // small values that a start needs; secrets among them are sealed
}

// copyWriter writes one copy file.
type copyWriter struct {
	file *os.File
	w    *bufio.Writer
	size int64
}

func createCopy(path string) (*copyWriter, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".copy-*") // mode 0600
	if err != nil {
		return nil, err
	}
	c := &copyWriter{file: file, w: bufio.NewWriterSize(file, 1<<16)}
	_, err = c.w.Write(append([]byte(copyMagic), copyStamp(time.Time{})...))
	return c, err
}

// copyStamp is the second part of the header.
func copyStamp(at time.Time) []byte {
	var ms uint64
	if !at.IsZero() {
		ms = uint64(at.UnixMilli())
	}
	b := binary.BigEndian.AppendUint64(nil, ms)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// stamp notes when the state in the file was last known to be the newest.
func (c *copyWriter) stamp(at time.Time) error {
	_, err := c.file.WriteAt(copyStamp(at), copyStampAt)
	return err
}

// disbelieveCopy takes its time from a copy file that nobody writes to any more.
func disbelieveCopy(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = file.WriteAt(copyStamp(time.Time{}), copyStampAt)
	return errors.Join(err, file.Close())
}

func (c *copyWriter) frame(kind byte, body []byte) error {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)+1))
	sum := crc32.Update(crc32.Checksum([]byte{kind}, castagnoli), castagnoli, body)
	head = append(binary.BigEndian.AppendUint32(head, sum), kind)
	c.size += int64(len(head) + len(body))
	if _, err := c.w.Write(head); err != nil {
		return err
	}
	_, err := c.w.Write(body)
	return err
}

// change adds what was applied, and hands it to the operating system: from then on an end of this process does not lose it.
func (c *copyWriter) change(head Head, rows []Row) error {
	if err := c.frame(frameChange, appendRows(appendHead(nil, head), rows)); err != nil {
		return err
	}
	return c.w.Flush()
}

// sync waits until what was written so far is on disk, which may take long: nobody who waits for the store waits for this.
func (c *copyWriter) sync() error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	return c.file.Sync()
}

// publish makes the file the copy, in place of the one before. It was synced, but for a few changes since then.
func (c *copyWriter) publish(path string) error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	return os.Rename(c.file.Name(), path)
}

func (c *copyWriter) close() error { return c.file.Close() }

// discard removes a file that was not published.
func (c *copyWriter) discard() { _ = errors.Join(c.file.Close(), os.Remove(c.file.Name())) }

func appendHead(b []byte, h Head) []byte {
	b = binary.BigEndian.AppendUint64(b, h.Revision)
	b = binary.BigEndian.AppendUint64(b, h.Events)
	return append(b, h.Hash[:]...)
}

// appendRows encodes rows. The length of a row's data is one too high, so that none is told from empty.
func appendRows(b []byte, rows []Row) []byte {
	for _, r := range rows {
		b = append(b, byte(r.Table))
		b = appendString(b, r.ID)
		if r.Data == nil {
			b = binary.AppendUvarint(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(r.Data))+1)
		b = append(b, r.Data...)
	}
	return b
}

func decodeRows(b []byte, row func(Row) error) error {
	for len(b) > 0 {
		r := Row{Table: Table(b[0])}
		id, rest, err := cutValue(b[1:])
		if err != nil {
			return err
		}
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n)+1 {
			return errRecordCut
		}
		r.ID, b = string(id), rest[n:]
		if size > 0 {
			r.Data, b = bytes.Clone(b[:size-1]), b[size-1:]
			if r.Data == nil {
				r.Data = []byte{}
			}
		}
		if err := row(r); err != nil {
			return err
		}
	}
	return nil
}

// savedCopy is a copy file that was read.
type savedCopy struct {
	start     copyStart
	head      Head
	confirmed time.Time // zero: never, or not to be believed
	rows      map[rowName][]byte
}

type rowName struct {
	table Table
	id    string
}

// errNoCopy is the answer to who reads a copy that is not there.
var errNoCopy = errors.New("there is no copy")

// readCopy reads a copy file. now is for its time: one that lies ahead is not believed.
func readCopy(path string, now time.Time) (*savedCopy, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errNoCopy
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	c, err := decodeCopy(bufio.NewReaderSize(file, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("the copy %q: %w", path, err)
	}
	if c.confirmed.After(now) {
		c.confirmed = time.Time{} // the clock was set back: nobody knows how old it is
	}
	return c, nil
}

func decodeCopy(r io.Reader) (*savedCopy, error) {
	header := make([]byte, copyBegin)
	if _, err := io.ReadFull(r, header); err != nil || string(header[:copyStampAt]) != copyMagic {
		return nil, errors.New("is none of this version of the program")
	}
	c := &savedCopy{rows: make(map[rowName][]byte)}
	if ms := binary.BigEndian.Uint64(header[copyStampAt:]); ms != 0 && ms < 1<<53 {
		if at := time.UnixMilli(int64(ms)); bytes.Equal(copyStamp(at), header[copyStampAt:]) {
			c.confirmed = at
		}
	}
	begun, ready := false, false
	for {
		kind, body, err := readFrame(r)
		switch {
		case err != nil && ready:
			return c, nil // the end, or a change that was cut off: nobody was told of it
		case err != nil:
			return nil, errors.New("is not whole")
		case kind == frameStart && !begun:
			begun = true
			if err := json.Unmarshal(body, &c.start); err != nil {
				return nil, errors.New("is damaged")
			}
			c.head = c.start.Head
		case kind == frameRows && begun && !ready:
			err = c.apply(body)
		case kind == frameReady && begun && !ready:
			ready = true
		case kind == frameChange && ready && len(body) >= 48:
			c.head.Revision, c.head.Events = binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])
			copy(c.head.Hash[:], body[16:])
			err = c.apply(body[48:])
		default:
			err = errors.New("is damaged")
		}
		if err != nil {
			return nil, err
		}
	}
}

func (c *savedCopy) apply(rows []byte) error {
	return decodeRows(rows, func(r Row) error {
		name := rowName{r.Table, r.ID}
		if r.Data == nil {
			delete(c.rows, name)
			return nil
		}
		c.rows[name] = r.Data
		return nil
	})
}

func readFrame(r io.Reader) (kind byte, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > copyMaxFrame {
		return 0, nil, errors.New("impossible length")
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(data, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, errors.New("wrong checksum")
	}
	return data[0], data[1:], nil
}
