package pglog

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/keystile/keystile/requestlog"
)

// The binary form of COPY: a head, for each row the number of its columns and for each column its length and bytes, and an end.
// The driver's own takes every value through an interface and costs several times as much.
var (
	copyHead = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyEnd  = []byte{0xff, 0xff}
)

// appendRow writes a record as a row, in the order of selected.
func appendRow(b []byte, r *requestlog.Record) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(columns)+2))
	b = appendText(b, sortKey(r.ID))
	b = appendBool(b, strings.HasPrefix(r.ID, gapPrefix))
	for i := range columns {
		c := &columns[i]
		switch c.Kind {
		case requestlog.ColumnText:
			if s := c.TextOf(r); s != "" || !c.Optional() {
				b = appendText(b, storable(s))
				continue
			}
		case requestlog.ColumnAddress:
			if a := c.AddressOf(r); a.IsValid() {
				b = appendAddress(b, a)
				continue
			}
		default:
			v, ok := c.Value(r)
			switch {
			case !ok:
			case c.Kind == requestlog.ColumnBool:
				b = appendBool(b, v.Integer != 0)
				continue
			case c.Name == "status":
				b = binary.BigEndian.AppendUint32(b, 4)
				b = binary.BigEndian.AppendUint32(b, uint32(int32(v.Integer)))
				continue
			default:
				b = binary.BigEndian.AppendUint32(b, 8)
				b = binary.BigEndian.AppendUint64(b, uint64(v.Integer))
				continue
			}
		}
		b = append(b, 0xff, 0xff, 0xff, 0xff) // null
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

func appendBool(b []byte, v bool) []byte {
	b = append(b, 0, 0, 0, 1)
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendAddress writes an inet: family, bits, whether it is a network, and the address.
func appendAddress(b []byte, a netip.Addr) []byte {
	const v4, v6 = 2, 3
	family := byte(v6)
	if a.Is4() {
		family = v4
	}
	bytes := a.AsSlice()
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(bytes)))
	b = append(b, family, byte(a.BitLen()), 0, byte(len(bytes)))
	return append(b, bytes...)
}

// storable is s without what the database does not take. Cleaned records have none of it; a damaged journal may.
func storable(s string) string {
	if isStorable(s) {
		return s
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
