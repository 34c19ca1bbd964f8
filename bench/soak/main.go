// Command soak runs the real binary for a long time under everything that a bad night brings: churn of keys, revocations, reloads, kill -9,
// clean restarts; and knows at every moment what should have happened. It ends with 1 and names each thing that was not so:
//
//   - a request that began after the answer to the call that took its key's rights away, and was accepted all the same;
//   - a request of a good key that was refused;
//   - a key or a change that was acknowledged, and is not there after a kill;
//   - a request that was answered, and whose record is not in the log, unless it ended in the last 200 ms before a kill;
//   - memory, goroutines or file descriptors that grow.
//
// The figures of its last run are quoted in README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	length, kill, reload time.Duration
	rate                 int
	binary, dir          string
}

func main() {
	var o options
	flag.DurationVar(&o.length, "for", 30*time.Minute, "how long it runs")
	flag.DurationVar(&o.kill, "kill", time.Minute, "how often the process is killed, on average; every third time it is stopped by SIGTERM")
	flag.DurationVar(&o.reload, "reload", 15*time.Second, "how often the configuration is reloaded")
	flag.IntVar(&o.rate, "rate", 200, "requests a second")
	flag.StringVar(&o.binary, "binary", "", "the keystile binary; default: it is built")
	flag.Parse()
	if flag.NArg() > 0 || o.length < 10*time.Second || o.rate < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	faults, err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || faults > 0 {
		os.Exit(1)
	}
}

// run soaks, and prints what came of it.
func run(ctx context.Context, o *options) (faults int, err error) {
	if o.dir, err = os.MkdirTemp("", "keystile-soak-"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(o.dir)
	if o.binary == "" {
		o.binary = filepath.Join(o.dir, "keystile")
		if err := build(o.binary); err != nil {
			return 0, err
		}
	}
	s, err := newSoak(o)
	if err != nil {
		return 0, err
	}
	defer s.close()
	began := time.Now()
	if err := s.gateway.start(); err != nil {
		return 0, err
	}
	if err := s.prepare(); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.length)
	defer cancel()
	var all sync.WaitGroup
	for _, work := range []func(context.Context){s.traffic, s.churn, s.churn, s.reloads, s.kills, s.watch} {
		all.Go(func() { work(ctx) })
	}
	all.Wait()
	s.finish()
	s.report(time.Since(began))
	return s.faults(), nil
}
