package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// sealedFile makes an archived file of some records, and answers its bytes.
func sealedFile(t testing.TB) (name string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	a, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(requestlogtest.Records(60, 1)); err != nil {
		t.Fatal(err)
	}
	settle(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"+parquetSuffix))
	if err != nil || len(paths) != 1 {
		t.Fatalf("%q, %v", paths, err)
	}
	content, err = os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(paths[0]), content
}

// askEverything asks an archive in every way. Whatever its files hold, it answers without an error, and does not panic.
func askEverything(t *testing.T, dir string) {
	t.Helper()
	a, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx := context.Background()
	records := requestlogtest.Records(60, 1)
	since, until := records[0].Time.Add(-1e9), records[59].Time.Add(30e9)
	for _, f := range []requestlog.Filter{
		{}, {Key: "key_3"}, {Path: "/v1/charges", StatusMin: 400, StatusMax: 499}, {Since: records[10].Time}, {RequestID: records[7].ID},
		{Within: []string{"acct_1"}, Mode: "live"},
	} {
		p, err := a.List(ctx, requestlog.Query{Filter: f, Limit: 100})
		if err != nil {
			t.Errorf("List: %v", err)
		}
		for _, r := range p.Records {
			if !f.Match(r) {
				t.Errorf("List(%+v) gives %+v", f, r)
			}
		}
		f.Since, f.Until = since, until
		if _, err := a.Histogram(ctx, requestlog.HistogramQuery{Filter: f, By: requestlog.ByKey, Bucket: 60e9}); err != nil {
			t.Errorf("Histogram: %v", err)
		}
	}
	if _, err := a.KeySummary(ctx, "key_3"); err != nil {
		t.Errorf("KeySummary: %v", err)
	}
	a.keep(ctx)
	if _, err := a.List(ctx, requestlog.Query{Limit: 100}); err != nil {
		t.Errorf("List: %v", err)
	}
}

// FuzzParquetFile changes bytes of an archived file.
func FuzzParquetFile(f *testing.F) {
	name, content := sealedFile(f)
	f.Add(0, []byte("x"))
	f.Add(len(content)-8, []byte{0xff, 0xff, 0xff, 0x00})
	f.Add(len(content)-300, bytes.Repeat([]byte{0}, 50))
	f.Add(len(content)/2, []byte{1, 2, 3, 4})
	f.Add(4, bytes.Repeat([]byte{0xff}, 40))
	f.Fuzz(func(t *testing.T, at int, with []byte) {
		if at < 0 || at > len(content) || len(with) > 4096 {
			return
		}
		changed := append([]byte(nil), content...)
		changed = append(changed[:at], append(with, changed[min(len(changed), at+len(with)):]...)...)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), changed, 0o600); err != nil {
			t.Fatal(err)
		}
		askEverything(t, dir)
	})
}

// FuzzJournalFile has any bytes as a file of the journal.
func FuzzJournalFile(f *testing.F) {
	var lines []byte
	for _, r := range requestlogtest.Records(5, 1) {
		line, err := r.MarshalJSON()
		if err != nil {
			f.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	f.Add(lines)
	f.Add(lines[:len(lines)/2])
	f.Add([]byte("\n\n{}\n\x00\x00\n"))
	f.Add([]byte(`{"id":"req_2F3HT6Qk6a0PeU6oqx6","time":"9999-12-31T23:59:59.999Z","status":1e9}` + "\n"))
	f.Add([]byte(`{"time":"0001-01-01T00:00:00Z","id":"gap_zzzzzzzzzzzzzzzzzzz","lost":-5,"client_address":"::1%eth0"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"open_20261120T100000.000Z.jsonl", "20261120T100000.000Z_20261120T110000.000Z.jsonl"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			askEverything(t, dir)
		}
	})
}

// FuzzUsage has any bytes as what keys did, with a right sum and with a wrong one.
func FuzzUsage(f *testing.F) {
	f.Add([]byte(usageMagic))
	f.Add([]byte(usageMagic + "\x00\x02\x02a\x02\x06key\x02\x02\x00\x00\x02\x06abc\x02\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, body := range [][]byte{b, withSum(b)} {
			u, err := decodeUsage(bytes.NewReader(body), int64(len(body)))
			if err == nil && (u == nil || u.keys == nil || u.applied == nil) {
				t.Error("neither usage nor an error")
			}
		}
	})
}

func withSum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.ChecksumIEEE(b))
}
