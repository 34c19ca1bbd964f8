package requestlog_test

import (
	"testing"

	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

func TestJournalConformance(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]requestlog.JournalOptions{
		"OneFile":      {},
		"ManyFiles":    {MaxFileSize: 64 << 10},
		"SmallBudget":  {MaxFileSize: 128 << 10, ScanBudget: 1},
		"ReopenedEach": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requestlogtest.Run(t, func(t *testing.T) requestlog.Store {
				o := o
				o.Dir = t.TempDir()
				if name == "ReopenedEach" {
					return &reopened{o: o}
				}
				return openJournal(t, o)
			})
		})
	}
}

func openJournal(t *testing.T, o requestlog.JournalOptions) *requestlog.Journal {
	t.Helper()
	j, err := requestlog.OpenJournal(o)
	if err != nil {
		t.Fatalf("OpenJournal: %v", err)
	}
	return j
}
