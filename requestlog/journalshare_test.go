package requestlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// However late lines lie in a file, they come in the order of their ids, each once and with its own texts, also where they are
// longer than a window; and texts that are kept stay what they were.
func TestEachSortedOrdersWhatCameLate(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, place := range map[string]func(i int) int{
		"in order":         func(i int) int { return i },
		"backwards":        func(i int) int { return -i },
		"some late":        func(i int) int { return i + rng.IntN(20)/19*rng.IntN(900) },
		"first comes last": func(i int) int { return (i + 1999) % 2000 },
		"in any order":     func(int) int { return rng.IntN(1 << 40) },
	} {
		t.Run(name, func(t *testing.T) {
			j, err := OpenJournal(JournalOptions{Dir: t.TempDir(), Retention: 100 * 365 * 24 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			records := make([]*Record, 2000)
			for i := range records {
				r := &Record{Time: begin.Add(time.Duration(i/2) * time.Millisecond), Path: fmt.Sprint("/v1/things/", i), Status: 200}
				r.ID = cursorBefore(positionOf(r.Time) + uint64(i))
				if i%500 == 0 {
					r.RequestBody = string(bytes.Repeat([]byte{byte('a' + i/500)}, 3*windowBytes/2))
				}
				records[i] = r
			}
			places := make(map[*Record]int)
			for i, r := range records {
				places[r] = place(i)
			}
			written := slices.Clone(records)
			slices.SortStableFunc(written, func(a, b *Record) int { return places[a] - places[b] })
			if n, err := j.Write(written); n != len(written) || err != nil {
				t.Fatalf("Write: %d, %v", n, err)
			}
			j.Roll()
			var got []Record
			skipped, err := j.EachSorted(t.Context(), j.Sealed()[0].Path, func(r *Record) error {
				got = append(got, *r)
				return nil
			})
			if err != nil || skipped != 0 || len(got) != len(records) {
				t.Fatalf("EachSorted: %d records, %d skipped, %v", len(got), skipped, err)
			}
			for i := range got {
				if want := records[i]; got[i].ID != want.ID || got[i].Path != want.Path || got[i].RequestBody != want.RequestBody {
					t.Fatalf("record %d: got %s %s, want %s %s", i, got[i].ID, got[i].Path, want.ID, want.Path)
				}
			}
		})
	}
}
