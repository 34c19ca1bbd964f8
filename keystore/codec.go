package keystore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Stored records are compact and can be read by later versions:
//
//	version byte (1) | fields | CRC-32C of everything before it, 4 bytes
//
// A field is its number, the length of its value, and the value; numbers and lengths are unsigned varints. Fields come
// in ascending order of their numbers, each at most once. A field with its zero value is left out. A reader skips
// numbers below criticalField that it does not know, and refuses the record if it does not know one from there up: what
// narrows a key's rights gets such a number, so that an older program never grants what a newer one took away. The sum makes a flipped bit on disk an error at load instead of another right.
const recordVersion = 1

// criticalField is the first number that a reader must know.
const criticalField = 128

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecordCut = errors.New("the record is cut off")

// unknownField is what a decoder does with a number that it does not know.
func unknownField(number uint64) error {
	if number >= criticalField {
		return errors.New("written by a newer version of the program, and needed to judge the record") // fail closed
	}
	return nil
}

type encoder struct {
	buf []byte
	tmp []byte
}

func newEncoder(sizeHint int) *encoder {
	return &encoder{buf: append(make([]byte, 0, sizeHint), recordVersion)}
}

func (e *encoder) bytes(field uint64, v []byte) {
	if len(v) == 0 {
		return
	}
	e.buf = binary.AppendUvarint(e.buf, field)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) string(field uint64, v string) {
	if v == "" {
		return
	}
	e.buf = binary.AppendUvarint(e.buf, field)
	e.buf = binary.AppendUvarint(e.buf, uint64(len(v)))
	e.buf = append(e.buf, v...)
}

func (e *encoder) uint(field, v uint64) {
	if v == 0 {
		return
	}
	e.tmp = binary.AppendUvarint(e.tmp[:0], v)
	e.bytes(field, e.tmp)
}

// time writes whole milliseconds since 1970; the zero time is left out. The first moment of 1970 is none, and is written: a key
// that ended then must not be read as one that never ends.
func (e *encoder) time(field uint64, v time.Time) {
	if !v.IsZero() {
		e.tmp = binary.AppendUvarint(e.tmp[:0], uint64(v.UnixMilli()))
		e.bytes(field, e.tmp)
	}
}

// strings writes a list. Nil and empty are the same.
func (e *encoder) strings(field uint64, list []string) {
	e.tmp = e.tmp[:0]
	for _, s := range list {
		e.tmp = appendString(e.tmp, s)
	}
	e.bytes(field, e.tmp)
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func (e *encoder) finish() []byte {
	return binary.BigEndian.AppendUint32(e.buf, crc32.Checksum(e.buf, castagnoli))
}

// decodeRecord checks a record's frame and calls field for each field in order. Values are parts of data.
func decodeRecord(data []byte, field func(number uint64, value []byte) error) error {
	if len(data) < 5 {
		return errRecordCut
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return errors.New("the record's checksum does not match its content")
	}
	if body[0] != recordVersion {
		return fmt.Errorf("the record has format %d, this version of the program reads format %d", body[0], recordVersion)
	}
	var last uint64
	for body = body[1:]; len(body) > 0; {
		number, n := binary.Uvarint(body)
		if n <= 0 {
			return errRecordCut
		}
		if number <= last {
			return errors.New("the record's fields are out of order")
		}
		last = number
		value, rest, err := cutValue(body[n:])
		if err != nil {
			return err
		}
		if err := field(number, value); err != nil {
			return fmt.Errorf("field %d: %w", number, err)
		}
		body = rest
	}
	return nil
}

// cutValue takes a length and as many bytes off the front of b.
func cutValue(b []byte) (value, rest []byte, err error) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, errRecordCut
	}
	return b[n : n+int(size)], b[n+int(size):], nil
}

func decodeUint(value []byte) (uint64, error) {
	v, n := binary.Uvarint(value)
	if n != len(value) || n <= 0 {
		return 0, errors.New("not a number")
	}
	return v, nil
}

func decodeTime(value []byte) (time.Time, error) {
	v, err := decodeUint(value)
	if err != nil {
		return time.Time{}, err
	}
	if v > 1<<53 {
		return time.Time{}, errors.New("not a time")
	}
	return time.UnixMilli(int64(v)).UTC(), nil
}

func decodeStrings(value []byte, one func(string) string) ([]string, error) {
	count := 0
	for rest := value; len(rest) > 0; count++ {
		var err error
		if _, rest, err = cutValue(rest); err != nil {
			return nil, err
		}
	}
	if count == 0 {
		return nil, nil
	}
	list := make([]string, 0, count)
	for rest := value; len(rest) > 0; {
		var item []byte
		item, rest, _ = cutValue(rest)
		list = append(list, one(string(item)))
	}
	return list, nil
}
