package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/keystile/keystile/requestlog/requestlogtest"
)

func TestParquetWriterKeepsTheSchemasOrderAndTypes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := NewParquetWriter(&out)
	records := requestlogtest.Records(groupRows+10, 1)
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if f.NumRows() != int64(len(records)) || len(f.RowGroups()) != 2 {
		t.Errorf("got %d rows in %d groups, want %d in 2", f.NumRows(), len(f.RowGroups()), len(records))
	}
	fields := f.Schema().Fields()
	if len(fields) != len(w.columns) {
		t.Fatalf("got %d columns, want %d", len(fields), len(w.columns))
	}
	for i, c := range w.columns {
		if fields[i].Name() != c.Name || fields[i].Optional() != c.Optional() {
			t.Errorf("column %d: got %s, optional %v, want %s, %v", i, fields[i].Name(), fields[i].Optional(), c.Name, c.Optional())
		}
	}
	for name, want := range map[string]string{
		"time": "TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS)", "id": "STRING", "client_address": "STRING",
		"duration_us": "INT(64,true)", "successor_used": "BOOLEAN", "lost_from": "TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS)",
	} {
		column, ok := f.Schema().Lookup(name)
		if !ok || column.Node.Type().String() != want {
			t.Errorf("column %s: got %v, want %s", name, column.Node.Type(), want)
		}
	}
	t.Logf("%d bytes a record", out.Len()/len(records))
}

func TestParquetWriterOfNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := NewParquetWriter(&out).Close(); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil || f.NumRows() != 0 {
		t.Errorf("got %v, want a file without rows", err)
	}
}

// failingWriter fails behind so many bytes.
type failingWriter struct{ room int }

var errRoom = errors.New("no room")

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errRoom
	}
	return len(b), nil
}

func TestParquetWriterTellsOfFailures(t *testing.T) {
	t.Parallel()
	for _, room := range []int{0, 100, 10_000} {
		w := NewParquetWriter(&failingWriter{room})
		var err error
		for _, r := range requestlogtest.Records(groupRows+10, 1) {
			err = errors.Join(err, w.Write(r))
		}
		if err = errors.Join(err, w.Close()); !errors.Is(err, errRoom) {
			t.Errorf("room %d: got %v, want the writer's error", room, err)
		}
	}
	var _ io.Writer = (*failingWriter)(nil)
}

// Records with much captured text are not gathered: they would take far more memory than the row group that they go into.
func TestParquetWriterGathersLittleOfLongTexts(t *testing.T) {
	t.Parallel()
	w := NewParquetWriter(io.Discard)
	for _, r := range requestlogtest.Records(100, 1) {
		r.RequestBody, r.ResponseBody = strings.Repeat("x", 60<<10), strings.Repeat("y", 60<<10)
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		held := 0
		for i := range w.chunk {
			held += w.chunk[i].CapturedBytes()
		}
		if held > chunkBytes {
			t.Fatalf("it has gathered %d bytes, want at most %d", held, chunkBytes)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
