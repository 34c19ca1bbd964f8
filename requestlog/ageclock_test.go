package requestlog

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestAgeClockOutlastsTheProcess: what a start believes is what the last process knew, or the newest file of the directory; never a later time.
func TestAgeClockOutlastsTheProcess(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	now := at.Add(40 * 24 * time.Hour)
	core, said := observer.New(zap.InfoLevel)
	open := func(dir string) *AgeClock {
		return OpenAgeClock(AgeClockOptions{
			Dir: dir, Now: func() time.Time { return now }, Elapsed: func() time.Duration { return 0 }, Logger: zap.New(core),
		})
	}
	for name, test := range map[string]struct {
		files map[string]string
		want  time.Time
	}{
		"nothing":         {nil, now},
		"a sealed file":   {map[string]string{"20261120T100000.000Z_20261125T120000.000Z.jsonl": ""}, at},
		"a Parquet file":  {map[string]string{"20261120T100000.000Z_20261125T120000.000Z.parquet": "", "20261120T100000.000Z_20261121T120000.000Z-1.jsonl": ""}, at},
		"its own":         {map[string]string{clockName: "20261125T120000.000Z", "20261120T100000.000Z_20261230T120000.000Z.parquet": ""}, at},
		"its own, broken": {map[string]string{clockName: "2026", "20261120T100000.000Z_20261125T120000.000Z.parquet": ""}, at},
		"its own, later":  {map[string]string{clockName: "20291125T120000.000Z"}, now},
	} {
		dir := t.TempDir()
		for file, text := range test.files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		a := open(dir)
		if got := a.Now(); !got.Equal(test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		a.Close()
		if got := open(dir).Now(); !got.Equal(test.want) {
			t.Errorf("%s: the next process begins with %v, want %v", name, got, test.want)
		}
	}
	warnings := said.FilterMessageSnippet("the clock has jumped ahead").All()
	if len(warnings) == 0 || !strings.Contains(warnings[0].Message, "later") {
		t.Errorf("the process says %v", said.All())
	}
}
