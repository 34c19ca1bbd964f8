package dashboard

import (
	"fmt"
	"html/template"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// functions are what templates call beside the methods of their pages.
var functions = template.FuncMap{
	"when":     when,
	"day":      day,
	"exactly":  exactly,
	"left":     left,
	"count":    func(n any) string { return count(whole(n)) },
	"plural":   func(n any, word string) string { return plural(whole(n), word) },
	"lines":    func(s []string) string { return strings.Join(s, "\n") },
	"commas":   func(s []string) string { return strings.Join(s, ", ") },
	"millis":   millis,
	"size":     size,
	"sentence": sentence,
	"brief":    func(s string) string { return shorten(s, 80) },
	"line":     func(s string) string { return shorten(s, 160) },
}

// when is a moment: UTC as it stands, and the viewer's own zone where scripts run. The text is of digits and our own words.
func when(at any) template.HTML {
	t, ok := moment(at)
	if !ok {
		return "never"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2 Jan 2006, 15:04") + ` UTC</time>`)
}

// exactly is when to the second.
func exactly(at any) template.HTML {
	t, ok := moment(at)
	if !ok {
		return "never"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `" data-seconds>` + t.Format("2 Jan 2006, 15:04:05") + ` UTC</time>`)
}

// day is when without the time of day.
func day(at any) template.HTML {
	t, ok := moment(at)
	if !ok {
		return "never"
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `" data-day>` + t.Format("2 Jan 2006") + `</time>`)
}

func moment(at any) (time.Time, bool) {
	switch t := at.(type) {
	case time.Time:
		return t, !t.IsZero()
	case *time.Time:
		if t != nil {
			return *t, !t.IsZero()
		}
	}
	return time.Time{}, false
}

// left is how long something goes on, to the two units that matter: "3 days", "23 h 59 min".
func left(seconds int64) string {
	d := time.Duration(seconds) * time.Second
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute), " 0 min")
	case d < 3*24*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%s %d h", plural(int64(d/(24*time.Hour)), "day"), d%(24*time.Hour)/time.Hour), " 0 h")
	}
	return plural(int64(d/(24*time.Hour)), "day")
}

// count is a number with thin groups: 12,345.
func count[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// whole is a whole number of any size.
func whole(n any) int64 {
	v := reflect.ValueOf(n)
	if v.CanInt() {
		return v.Int()
	}
	return 0
}

func plural[T int | int64](n T, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return count(n) + " " + word + "s"
}

// millis is a duration as request logs show it.
func millis(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	if ms < 10 {
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	}
	return strconv.FormatFloat(ms, 'f', 0, 64) + " ms"
}

func size(n int64) string {
	switch {
	case n < 1000:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1000*1000:
		return strconv.FormatFloat(float64(n)/1000, 'f', 1, 64) + " kB"
	}
	return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + " MB"
}
