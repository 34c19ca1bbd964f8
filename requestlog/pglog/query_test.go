package pglog

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/requestlog"
	"github.com/keystile/keystile/requestlog/requestlogtest"
)

// TestTableHasTheSchema: each column of a record is one of the table, of a type that holds it.
func TestTableHasTheSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	open(t, options(t, dsn))
	types := map[requestlog.ColumnKind]string{
		requestlog.ColumnText: "text", requestlog.ColumnInteger: "bigint", requestlog.ColumnTime: "bigint",
		requestlog.ColumnAddress: "inet", requestlog.ColumnBool: "boolean",
	}
	var want []string
	for _, c := range requestlog.Columns() {
		typ := types[c.Kind]
		if c.Name == "status" {
			typ = "integer"
		}
		want = append(want, c.Name+" "+typ)
	}
	want = append(want, "gap boolean")
	rows, err := connect(t, dsn).Query(t.Context(), `SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = 'keystile_log_records'`)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			t.Fatal(err)
		}
		got = append(got, column)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the table has\n%v\nand the schema\n%v", got, want)
	}
}

// TestHostileFilters: whatever a filter holds, it selects what Filter.Match does, and nothing else happens.
func TestHostileFilters(t *testing.T) {
	t.Parallel()
	s := open(t, options(t, pgtest.Shared(t).Database(t)))
	texts := []string{`'; DROP TABLE keystile_log_records; --`, `$1`, `a%b`, `a_b`, `a\b`, `axb`, `"`, `{}`, `ü`, `%`, `\`, `*`}
	records := requestlogtest.Records(len(texts)*2, 1)
	for i, r := range records {
		r.Key, r.Host, r.Path, r.Owner, r.Account = texts[i%len(texts)], texts[i%len(texts)], "/"+texts[i%len(texts)]+"/x", texts[i%len(texts)], texts[(i+1)%len(texts)]
	}
	write(t, s, records)
	var filters []requestlog.Filter
	for _, text := range append(texts, "zero\x00", "bad\xff", strings.Repeat("long", 1000)) {
		filters = append(filters, requestlog.Filter{Key: text}, requestlog.Filter{Host: text}, requestlog.Filter{Path: "/" + text}, requestlog.Filter{Path: "/" + text + "*x"},
			requestlog.Filter{Path: "*" + text + "*"}, requestlog.Filter{Owner: text}, requestlog.Filter{Account: text, Owner: text}, requestlog.Filter{Within: []string{text}},
			requestlog.Filter{Within: []string{text, text, "", "b"}, Host: texts[0]}, requestlog.Filter{RequestID: text})
	}
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("acct_%d", i)
	}
	filters = append(filters, requestlog.Filter{Within: slices.Concat(many, texts)}, requestlog.Filter{Within: many}, requestlog.Filter{Client: netip.MustParsePrefix("::/0")},
		requestlog.Filter{Client: netip.MustParsePrefix("0.0.0.0/0"), StatusMin: 400, StatusMax: 599})
	for _, f := range filters {
		want := 0
		for _, r := range records {
			if f.Match(r) {
				want++
			}
		}
		if got := len(all(t, s, f)); got != want {
			t.Errorf("%+v selects %d records, want %d", f, got, want)
		}
		f.Since, f.Until = requestlogtest.Begin, requestlogtest.Begin.Add(time.Hour)
		h, err := s.Histogram(t.Context(), requestlog.HistogramQuery{Filter: f, Bucket: time.Hour, By: requestlog.ByKey})
		if err != nil {
			t.Errorf("Histogram of %+v: %v", f, err)
			continue
		}
		total := int64(0)
		for _, b := range h.Buckets {
			total += b.Total
		}
		if total != int64(want) {
			t.Errorf("%+v counts %d records, want %d", f, total, want)
		}
	}
}

// TestClockThatStepsBack: times of records that differ much from those in their ids are found by their own.
func TestClockThatStepsBack(t *testing.T) {
	t.Parallel()
	s := open(t, options(t, pgtest.Shared(t).Database(t)))
	records := requestlogtest.Records(600, 1)
	for i, r := range records {
		switch i % 3 {
		case 1:
			r.Time = r.Time.Add(-26 * time.Hour)
		case 2:
			r.Time = r.Time.Add(3 * time.Hour)
		}
	}
	write(t, s, records)
	for _, f := range []requestlog.Filter{
		{Since: requestlogtest.Begin.Add(2 * time.Hour)}, {Until: requestlogtest.Begin.Add(-time.Hour)},
		{Since: requestlogtest.Begin.Add(-30 * time.Hour), Until: requestlogtest.Begin.Add(time.Hour)},
	} {
		want := 0
		for _, r := range records {
			if f.Match(r) {
				want++
			}
		}
		if got := len(all(t, s, f)); got != want || want == 0 {
			t.Errorf("%v to %v has %d records, want %d", f.Since, f.Until, got, want)
		}
		if f.Until.IsZero() || f.Since.IsZero() {
			continue
		}
		h, err := s.Histogram(t.Context(), requestlog.HistogramQuery{Filter: f, Bucket: time.Hour, By: requestlog.ByDecision})
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, b := range h.Buckets {
			total += b.Total
		}
		if total != int64(want) {
			t.Errorf("%v to %v counts %d records, want %d", f.Since, f.Until, total, want)
		}
	}
}

// TestBoundedWork: a query that finds nothing for long ends its page early, with a cursor from where it goes on.
func TestBoundedWork(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	o := options(t, dsn)
	o.ListTime = time.Nanosecond
	s := open(t, o)
	today := time.Now().UTC().Truncate(dayLength)
	var records []*requestlog.Record
	for day := range 4 {
		records = append(records, recordsOf(today.AddDate(0, 0, -day), 300, uint64(day))...)
	}
	records[len(records)-1].Host = "rare.example.com"
	write(t, s, records)
	until(t, "they arrive", s.empty)
	// The days say that they are large.
	if _, err := connect(t, dsn).Exec(t.Context(), `UPDATE keystile_log_days SET records = $1 WHERE records > 0`, 3*readAtOnce); err != nil {
		t.Fatal(err)
	}
	pages, found, after := 0, 0, ""
	for {
		page, err := s.List(t.Context(), requestlog.Query{Filter: requestlog.Filter{Host: "rare.example.com"}, Limit: 10, After: after})
		if err != nil {
			t.Fatal(err)
		}
		pages++
		found += len(page.Records)
		if !page.More {
			break
		}
		if !requestlog.ValidID(page.Next) || after != "" && requestlog.CompareIDs(page.Next, after) >= 0 {
			t.Fatalf("behind %q the cursor is %q", after, page.Next)
		}
		after = page.Next
	}
	if found != 1 || pages < 8 {
		t.Errorf("%d pages with %d records, want one record on many pages", pages, found)
	}
	if got := len(all(t, s, requestlog.Filter{})); got != len(records) {
		t.Errorf("all pages have %d records, want %d", got, len(records))
	}
}

func TestStretches(t *testing.T) {
	t.Parallel()
	days := []storedDay{{day: 103, records: 0}, {day: 102, records: 50}, {day: 101, records: 950}, {day: 99, records: 10}, {day: 98, records: 10}}
	at := func(day int, hours int) string { return boundAt(dayBegin(day).Add(time.Duration(hours) * time.Hour)) }
	tests := []struct {
		name string
		r    reach
		want []reach
	}{
		{"all", reach{}, []reach{{at(102, 0), ""}, {at(101, 18), at(102, 0)}, {at(101, 12), at(101, 18)}, {at(101, 6), at(101, 12)}, {"", at(101, 6)}}},
		{"some hours", reach{at(101, 7), at(101, 13)}, []reach{{at(101, 12), at(101, 13)}, {at(101, 7), at(101, 12)}}},
		{"old ones", reach{"", at(100, 0)}, []reach{{"", at(100, 0)}}},
	}
	for _, tt := range tests {
		got := tt.r.stretches(days, 300)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %v\nwant %v", tt.name, got, tt.want)
		}
	}
}
