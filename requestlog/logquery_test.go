package requestlog

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestLogListsAndGets(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir(), Node: "node-1"})
	defer l.Close()
	appendN(l, 0, 30)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := l.List(t.Context(), Filter{Node: "node-1"}, 20, "")
	if err != nil || len(page.Records) != 20 || !page.More {
		t.Fatalf("List: got %d records, more %v, %v, want 20 of more", len(page.Records), page.More, err)
	}
	rest, err := l.List(t.Context(), Filter{}, 1e9, page.Next)
	if err != nil || len(rest.Records) != 10 || rest.More {
		t.Errorf("List behind the cursor: got %d records, more %v, %v, want the last 10", len(rest.Records), rest.More, err)
	}
	if one, err := l.List(t.Context(), Filter{}, -5, ""); err != nil || len(one.Records) != 1 {
		t.Errorf("List with a limit below 1: got %d records, %v, want 1", len(one.Records), err)
	}
	var wrong *FilterError
	if _, err := l.List(t.Context(), Filter{}, 10, "sk_live_"+body32); !errors.As(err, &wrong) || wrong.Param != "starting_after" || strings.Contains(err.Error(), body32) {
		t.Errorf("List behind a token: got %v, want an error of starting_after that does not repeat it", err)
	}
	if got, err := l.Get(t.Context(), rest.Records[0].ID); err != nil || got.BytesIn != rest.Records[0].BytesIn {
		t.Errorf("Get: got %+v, %v", got, err)
	}
	for _, id := range []string{"", "x", NewID(time.Now())} {
		if _, err := l.Get(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("Get(%q): got %v, want ErrNotFound", id, err)
		}
	}
}

// A long request is stored late and listed where it began.
func TestLateRecordIsListedWhereItBegan(t *testing.T) {
	t.Parallel()
	l := openLog(t, Options{Dir: t.TempDir()})
	defer l.Close()
	late := l.NewRecord()
	late.ID, late.Time, late.Key = NewID(time.Now()), time.Now(), "key_late"
	lateID := late.ID
	appendN(l, 0, 10)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Append(late)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := l.List(t.Context(), Filter{}, 100, "")
	if err != nil || len(page.Records) != 11 || page.Records[10].ID != lateID {
		t.Errorf("List: got %d records, %v, want the late one as the oldest of 11", len(page.Records), err)
	}
}
