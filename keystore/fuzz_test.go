package keystore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"reflect"
	"testing"
	"time"
)

// FuzzDecodeOthers is FuzzDecode for the records of people, machines and webhooks: what is read can be written and read again as the same.
func FuzzDecodeOthers(f *testing.F) {
	at := time.UnixMilli(1_760_000_000_123).UTC()
	f.Add("mem_1", (&Member{ID: "mem_1", Email: "a@b.example", CreatedAt: at}).encode())
	f.Add("ses_1", (&Session{ID: "ses_1", Member: "mem_1", CreatedAt: at, ExpiresAt: at}).encode())
	f.Add("adm_1", (&AdminToken{ID: "adm_1", Name: "ci", CreatedAt: at}).encode())
	f.Add("we_1", (&WebhookEndpoint{ID: "we_1", URL: "https://a.example", Events: []string{"*"}, CreatedAt: at}).encode())
	f.Add("", []byte{1, 2, 3, 4, 5, 6})
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		if len(data) >= 5 {
			data = withSum(data[:len(data)-4])
		}
		if m, err := decodeMember(id, data); err == nil {
			if again, err := decodeMember(id, m.encode()); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("member: %v\n%+v\n%+v", err, m, again)
			}
		}
		if s, err := decodeSession(id, data); err == nil {
			if again, err := decodeSession(id, s.encode()); err != nil || !reflect.DeepEqual(again, s) {
				t.Fatalf("session: %v\n%+v\n%+v", err, s, again)
			}
		}
		if a, err := decodeAdminToken(id, data); err == nil {
			if again, err := decodeAdminToken(id, a.encode()); err != nil || !reflect.DeepEqual(again, a) {
				t.Fatalf("admin token: %v\n%+v\n%+v", err, a, again)
			}
		}
		if w, err := decodeWebhook(id, data); err == nil {
			if again, err := decodeWebhook(id, w.encode()); err != nil || !reflect.DeepEqual(again, w) {
				t.Fatalf("webhook: %v\n%+v\n%+v", err, w, again)
			}
		}
	})
}

// withSum is a record with its right sum, which would keep the fuzzer out.
func withSum(body []byte) []byte {
	return binary.BigEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

// FuzzCopyFile has any frames, with right sums, as the copy that a node of a fleet starts from. What is read of it can be written and
// read again; a file that is cut off gives what stood before the cut, or nothing.
func FuzzCopyFile(f *testing.F) {
	start, err := json.Marshal(copyStart{Head: Head{Revision: 3, Events: 3}, Keys: 1, Meta: map[string][]byte{"signing_keys": {1}}})
	if err != nil {
		f.Fatal(err)
	}
	rows := appendRows(nil, []Row{{Table: 1, ID: "key_1", Data: []byte("x")}, {Table: 2, ID: "acct_1", Data: []byte{}}})
	change := appendRows(appendHead(nil, Head{Revision: 4, Events: 4}), []Row{{Table: 1, ID: "key_1"}})
	f.Add(start, rows, change, uint16(0))
	f.Add(start, []byte{}, change[:48], uint16(3))
	f.Add([]byte("{}"), []byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f}, []byte{}, uint16(100))
	f.Fuzz(func(t *testing.T, start, rows, change []byte, cut uint16) {
		file := bytes.NewBuffer(append([]byte(copyMagic), copyStamp(time.UnixMilli(1_760_000_000_123))...))
		for _, frame := range []struct {
			kind byte
			body []byte
		}{{frameStart, start}, {frameRows, rows}, {frameReady, nil}, {frameChange, change}} {
			appendFrame(file, frame.kind, frame.body)
		}
		whole := file.Bytes()
		got, err := decodeCopy(bytes.NewReader(whole))
		if err != nil {
			got = nil
		}
		part, err := decodeCopy(bytes.NewReader(whole[:max(0, len(whole)-int(cut))]))
		if err == nil && got != nil && cut > 0 && int(cut) <= 9+len(change) && part.head != part.start.Head {
			t.Fatalf("of a change that is cut off the head %+v is taken", part.head)
		}
		if got == nil {
			return
		}
		var all []Row
		for name, data := range got.rows {
			all = append(all, Row{Table: name.table, ID: name.id, Data: data})
		}
		seen := 0
		if err := decodeRows(appendRows(nil, all), func(r Row) error {
			if !bytes.Equal(got.rows[rowName{r.Table, r.ID}], r.Data) {
				t.Fatalf("row %q of table %d reads as %x", r.ID, r.Table, r.Data)
			}
			seen++
			return nil
		}); err != nil || seen != len(got.rows) {
			t.Fatalf("%d of %d rows, %v", seen, len(got.rows), err)
		}
	})
}

func appendFrame(file *bytes.Buffer, kind byte, body []byte) {
	data := append([]byte{kind}, body...)
	file.Write(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(len(data))), crc32.Checksum(data, castagnoli)))
	file.Write(data)
}
