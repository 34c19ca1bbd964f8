package requestlog

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

const someID = `"id":"req_0123456789ABCDEFGHI"`

func TestDecodeLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 4, 5, 6, 789e6, time.UTC)
	base := Record{ID: "req_0123456789ABCDEFGHI"}
	with := func(change func(*Record)) *Record {
		r := base
		change(&r)
		return &r
	}
	tests := []struct {
		line string
		want *Record // nil: an error
	}{
		{`{` + someID + `}`, &base},
		{" {\t" + someID + " , \"status\" : 200 } \r\n", with(func(r *Record) { r.Status = 200 })},
		{`{"status":403,` + someID + `,"key":"key_1"}`, with(func(r *Record) { r.Status, r.Key = 403, "key_1" })},
		{`{` + someID + `,"path":"a\"b\\c\u00e9\n"}`, with(func(r *Record) { r.Path = "a\"b\\c\u00e9\n" })},
		{`{` + someID + `,"time":"2026-11-23T04:05:06.789Z"}`, with(func(r *Record) { r.Time = at })},
		{`{` + someID + `,"time":"2026-11-23T05:05:06.789123+01:00"}`, with(func(r *Record) { r.Time = at })},
		{`{` + someID + `,"key":null,"later":{"a":[1,"}"]},"more":[{}],"x":-1.5e3,"status":1}`, with(func(r *Record) { r.Status = 1 })},
		{`{` + someID + `,"duration_us":9223372036854775807}`, with(func(r *Record) { r.Duration = microseconds(1<<63 - 1) })},
		{`{` + someID + `,"successor_used":true}`, with(func(r *Record) { r.SuccessorUsed = true })},
		{``, nil},
		{`{}`, nil},
		{`null`, nil},
		{`[` + someID + `]`, nil},
		{`{` + someID, nil},
		{`{` + someID + `}}`, nil},
		{`{` + someID + `,}`, nil},
		{`{` + someID + ` "status":1}`, nil},
		{`{` + someID + `,"status":1.5}`, nil},
		{`{` + someID + `,"status":"200"}`, nil},
		{`{` + someID + `,"status":99999999999999999999}`, nil},
		{`{` + someID + `,"key":5}`, nil},
		{`{` + someID + `,"key":"\q"}`, nil},
		{`{` + someID + `,"key":"open`, nil},
		{`{` + someID + `,"time":"yesterday"}`, nil},
		{`{` + someID + `,"client_address":"here"}`, nil},
		{`{` + someID + `,"successor_used":1}`, nil},
		{`{` + someID + `,"later":}`, nil},
		{`{"id":"req_1"}`, nil},
		{"{" + someID + ",\"path\":\"\x00\"}", nil},
	}
	for _, tt := range tests {
		var got Record
		err := decodeLine([]byte(tt.line), &got)
		if tt.want == nil {
			if err == nil {
				t.Errorf("decodeLine(%q): got %+v, want an error", tt.line, got)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(&got, tt.want) {
			t.Errorf("decodeLine(%q): %v\n got %+v\nwant %+v", tt.line, err, got, *tt.want)
		}
	}
}

func TestLineHeadReadsWhatTheEncoderWrites(t *testing.T) {
	t.Parallel()
	r := fullRecord()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	id, ms, ok := lineHead(line)
	if !ok || string(id) != r.ID || ms != r.Time.UnixMilli() {
		t.Errorf("lineHead(%s): got %s, %d, %v", line, id, ms, ok)
	}
}

// Whatever a file holds, reading it neither fails nor invents: what is read from a line is read from its rewriting too.
// TestFuzzDecodeLineBrokenText: a text with bytes that are no UTF-8 is read as text, and written and read again comes out the same.
func TestFuzzDecodeLineBrokenText(t *testing.T) {
	t.Parallel()
	for _, line := range []string{`{` + someID + `,"response_body":"a` + "\xa6" + `b"}`, `{` + someID + `,"response_body":"a` + "\xa6" + `\u0062"}`} {
		var r, again Record
		if err := decodeLine([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.ResponseBody != "a\uFFFDb" {
			t.Errorf("got %q, want a replacement character for the broken byte", r.ResponseBody)
		}
		b, err := r.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if err := decodeLine(b, &again); err != nil || again != r {
			t.Errorf("read again: %v\n%+v\n%+v", err, again, r)
		}
	}
}

func FuzzDecodeLine(f *testing.F) {
	full, _ := json.Marshal(fullRecord())
	f.Add(full)
	f.Add(full[:len(full)/2])
	f.Add([]byte(`{` + someID + `,"x":{"y":[]},"key":null,"path":"\u0000\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var r, again Record
		if decodeLine(line, &r) != nil {
			return
		}
		b, err := r.MarshalJSON()
		if err != nil {
			t.Fatalf("MarshalJSON: %v", err)
		}
		if err := decodeLine(b, &again); err != nil {
			t.Fatalf("line %q was read, its rewriting %q is not: %v", line, b, err)
		}
		twice, err := again.MarshalJSON()
		if err != nil || !bytes.Equal(b, twice) {
			t.Errorf("rewritten twice:\n%s\n%s", b, twice)
		}
	})
}

// The index of any bytes covers every whole line once, in order, and never more than there is.
func FuzzIndexFile(f *testing.F) {
	full, _ := json.Marshal(fullRecord())
	f.Add(append(full, '\n'), 3)
	f.Add([]byte("junk\n\n{}\n"+strings.Repeat("x", 100)), 1)
	f.Fuzz(func(t *testing.T, content []byte, times int) {
		content = bytes.Repeat(content, 1+times&3)
		res, err := indexFile(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			t.Fatalf("indexFile: %v", err)
		}
		if got := res.file.size + res.torn; got != int64(len(content)) {
			t.Errorf("index: got %d bytes, want %d", got, len(content))
		}
		var end int64
		for _, b := range res.file.blocks {
			if b.offset < end || b.length <= 0 || b.offset+b.length > int64(len(content)) || b.low > b.high || b.first > b.last {
				t.Fatalf("block %+v behind %d of %d bytes", b, end, len(content))
			}
			end = b.offset + b.length
			if content[end-1] != '\n' {
				t.Errorf("block %+v does not end with its line", b)
			}
		}
	})
}

// Times are read by their digits where they have the form that the journal writes, and mean what package time says.
func TestReadTimeIsPackageTimes(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"2026-11-10T09:08:07.006Z", "2026-02-28T23:59:59.999Z", "2026-02-29T00:00:00.000Z", "2024-02-29T00:00:00.000Z",
		"2026-04-31T00:00:00.000Z", "2026-12-31T23:59:59.999Z", "0000-01-01T00:00:00.000Z", "9999-12-28T00:00:00.000Z",
		"2026-13-01T00:00:00.000Z", "2026-00-01T00:00:00.000Z", "2026-01-00T00:00:00.000Z", "2026-01-01T24:00:00.000Z",
		"2026-01-01T00:60:00.000Z", "2026-01-01T00:00:60.000Z", "2026-01-01T00:00:00.00xZ", "2026-01-01T00:00:00.-01Z",
		"2026-01-0:T00:00:00.000Z", "2026-01-01 00:00:00.000Z", "2026-01-01T00:00:00,000Z", "2026-01-01T00:00:00.000z",
		"2026-11-10T09:08:07Z", "2026-11-10T09:08:07.0069999Z", "2026-11-10T09:08:07.006+01:00", "2026-11-10T09:08:07+01:00", "",
	} {
		want, err := time.Parse(time.RFC3339, s)
		want = want.UTC().Truncate(time.Millisecond)
		for _, read := range []func() (time.Time, bool){
			func() (time.Time, bool) { return readTime(s) },
			func() (time.Time, bool) { return readTime([]byte(s)) },
		} {
			if got, ok := read(); ok != (err == nil) || ok && !got.Equal(want) {
				t.Errorf("readTime(%q): got %v, %v, want %v, %v", s, got, ok, want, err)
			}
		}
	}
}
