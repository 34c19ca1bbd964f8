package requestlog

import (
	"testing"
	"time"
)

// encodesLikeZap compares the short way of the encoder with zap.
func encodesLikeZap(t *testing.T, e *encoder, r *Record) {
	t.Helper()
	line, err := e.encode(r)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Free()
	got, err := e.append([]byte("before "), r)
	if err != nil || string(got) != "before "+line.String() {
		t.Errorf("append: %v\n got %s\nwant before %s", err, got, line)
	}
}

// TestEncoderWritesWhatZapWrites: with texts that need escapes, with texts that the record before had, and with none.
func TestEncoderWritesWhatZapWrites(t *testing.T) {
	t.Parallel()
	e := newEncoder()
	for range 2 {
		encodesLikeZap(t, e, &Record{})
		encodesLikeZap(t, e, fullRecord())
		for _, s := range []string{`"`, `\`, "\x7f", "\n", "é", "\xff", "\u2028", "<&>", ""} {
			r := fullRecord()
			r.UserAgent = s
			encodesLikeZap(t, e, r)
		}
	}
	plain := new(Record)
	typicalRecord(plain, journalBegin)
	encodesLikeZap(t, e, plain)
	if _, ok := e.appendPlain(nil, plain); !ok {
		t.Error("a plain record is left to zap")
	}
}

func FuzzEncode(f *testing.F) {
	f.Add("/v1/charges", int64(5), true)
	f.Add("a\"b\\", int64(-1), false)
	f.Fuzz(func(t *testing.T, text string, n int64, flag bool) {
		e := newEncoder()
		r := &Record{ID: text, Path: text, Duration: time.Duration(n), BytesOut: n, SuccessorUsed: flag, Time: time.UnixMilli(n % 1e14)}
		encodesLikeZap(t, e, r)
		encodesLikeZap(t, e, r)
	})
}

// TestCleanerRemembersOnlyWhatIsClean: a record is cleaned in the same way whatever came before it.
func TestCleanerRemembersOnlyWhatIsClean(t *testing.T) {
	t.Parallel()
	l, token := newCleaner(), "sk_live_"+body32
	for _, agent := range []string{"curl/8", "curl/8", token, token, "a\x1bb", "a\x1bb", "curl/8", "sk_live_****AbCd"} {
		r := &Record{ID: NewID(journalBegin), Time: journalBegin, UserAgent: agent, Path: "/" + agent, Host: agent}
		alone := *r
		l.clean(r, "node", journalBegin)
		clean(&alone, "node", journalBegin)
		if *r != alone {
			t.Errorf("%q: got %+v, alone %+v", agent, *r, alone)
		}
	}
	for i, s := range l.passed {
		if cleanText(s, textColumns[i].MaxBytes) != s {
			t.Errorf("%s: remembers %q, which is not clean", textColumns[i].Name, s)
		}
	}
}
