package command

import (
	"errors"
	"strings"
	"testing"
)

func TestReadEvents(t *testing.T) {
	t.Parallel()
	const stream = ": tailing\n\n" +
		"event: request_log\nid: req_1\ndata: {\"id\":\"req_1\"}\n\n" +
		"data:one\ndata: two\r\n\r\n" + // CRLF, and data of two lines
		"event: nothing\n\n" +
		"retry: 5\ndata\n\n" +
		"data: torn"
	var got []string
	err := readEvents(strings.NewReader(stream), func(ev event) error {
		got = append(got, ev.name+"="+string(ev.data))
		return nil
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("the end of the stream is %v, want errBroken", err)
	}
	want := []string{`request_log={"id":"req_1"}`, "message=one\ntwo", "message="}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("events are %q, want %q", got, want)
	}
}

func TestReadEventsStops(t *testing.T) {
	t.Parallel()
	n := 0
	err := readEvents(strings.NewReader(strings.Repeat("data: x\n\n", 5)), func(event) error {
		if n++; n == 2 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) || n != 2 {
		t.Errorf("got %v after %d events, want errEnough after 2", err, n)
	}
}
