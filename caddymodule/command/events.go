package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one line of an event stream, in bytes.
const maxEvent = 4 << 20

// errBroken is the end of an event stream: it has none of its own, so that any end is a break.
var errBroken = errors.New("the stream broke")

// event is one server-sent event.
type event struct {
	name string // "message" if it names none
	id   string // "" if it has none
	data []byte
}

// readEvents reads server-sent events and calls f with each that has data. It returns f's error, or errBroken at the end.
func readEvents(r io.Reader, f func(event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxEvent)
	ev := event{name: "message"}
	var data [][]byte
	for lines.Scan() {
		line := lines.Bytes()
		if len(line) == 0 {
			if len(data) > 0 {
				ev.data = bytes.Join(data, []byte{'\n'})
				if err := f(ev); err != nil {
					return err
				}
			}
			ev, data = event{name: "message"}, nil
			continue
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(name) {
		case "event":
			ev.name = string(value)
		case "id":
			ev.id = string(value)
		case "data":
			data = append(data, bytes.Clone(value))
		}
		// "" is a comment that keeps the connection open; retry is of no use here.
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("reading the stream: an event of more than %d MiB", maxEvent>>20)
	}
	return errBroken
}
