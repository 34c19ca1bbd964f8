package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/requestlog"
)

// A stream that broke is taken up again: the admin endpoint itself restarts on every reload of the config. After reconnectFor
// without a connection the gateway is taken for gone.
const (
	reconnectFor   = 10 * time.Second
	reconnectPause = 200 * time.Millisecond
)

func logTail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail [filters]",
		Short: "Prints requests as they happen",
		Long: `
Prints requests as they happen, until it is interrupted. With --json each record
is one line of JSON. A stream that breaks, as on a reload of the gateway, is taken
up where it broke: what came in the meantime is printed first. A line that says
"records lost" stands for more than could be kept for this reader.`,
		Example: `
  keystile log tail --key key_3Jd8sVwQ0xTnB6Lm --status 4xx
  keystile log tail --decision permission_denied --json`,
	}
	addLogFilters(cmd.Flags())
	cmd.Flags().IntP("count", "n", 0, "End after `N` records (0: never)")
	return leaf(cmd, nil, func(c *call) error {
		conn, err := c.connect()
		if err != nil {
			return err
		}
		count, _ := c.flags().GetInt("count")
		if count < 0 {
			return misuse("--count %d: want a number from 0", count)
		}
		ctx, stop := signal.NotifyContext(c.context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		t := &tail{call: c, conn: conn, query: c.logQuery(), left: count, endless: count == 0}
		err = t.run(ctx)
		if ctx.Err() != nil {
			return nil // interrupted: that is how a tail ends
		}
		return err
	})
}

// tail is one `log tail`.
type tail struct {
	call    *call
	conn    *client
	query   url.Values
	left    int
	endless bool
	seen    string // the id of the last event
}

// errEnough ends a tail that has printed what --count asked for.
var errEnough = errors.New("enough")

// run follows the stream, and follows it again when it breaks.
func (t *tail) run(ctx context.Context) error {
	if err := t.follow(ctx); err != nil {
		return ended(err)
	}
	for ctx.Err() == nil {
		t.call.warn("The stream broke: connecting again.")
		if err := t.again(ctx); err != nil {
			return ended(err)
		}
	}
	return ctx.Err()
}

// again tries for a while to follow the stream once more.
func (t *tail) again(ctx context.Context) error {
	deadline := time.Now().Add(reconnectFor)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reconnectPause):
		}
		err := t.follow(ctx)
		var answered *apiError
		if err == nil || errors.Is(err, errEnough) || errors.As(err, &answered) || time.Now().After(deadline) {
			return err
		}
	}
}

// ended is the error with which a tail ends.
func ended(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// follow prints one stream to its end. nil: it broke after it had begun.
func (t *tail) follow(ctx context.Context) error {
	conn := t.conn
	if t.seen != "" {
		conn = conn.with("Last-Event-ID", t.seen)
	}
	resp, err := conn.send(ctx, "GET", pathTo("request_logs", "tail"), t.query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = readEvents(resp.Body, func(ev event) error {
		if ev.name == "error" {
			return t.conn.decodeError(resp.StatusCode, ev.data)
		}
		if err := t.print(ev.data); err != nil {
			return err
		}
		if ev.id != "" {
			t.seen = ev.id
		}
		return nil
	})
	if errors.Is(err, errBroken) {
		return nil
	}
	return err
}

// print prints one record.
func (t *tail) print(data []byte) error {
	if err := t.write(data); err != nil {
		return err
	}
	if t.endless {
		return nil
	}
	if t.left--; t.left == 0 {
		return errEnough
	}
	return nil
}

func (t *tail) write(data []byte) error {
	if t.call.json {
		return t.call.out.raw(data)
	}
	var r requestlog.Record
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("reading the stream: %w", err)
	}
	o := t.call.out
	status := strconv.Itoa(r.Status)
	switch {
	case r.Status >= 400:
		status = o.paint(red, status)
	case r.Status > 0:
		status = o.paint(green, status)
	}
	o.linef("%s %s %s %s %s %s %s ms %s", stamp(r.Time), clean(r.ID), status, clean(r.Decision), clean(orDash(r.Key)),
		orDash(address(r.Client)), milliseconds(r.Duration), clean(requestLine(&r)))
	return nil
}
