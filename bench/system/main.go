// Command system compares Keystile with what stands in its place, on this machine: Caddy alone and with its own means,
// nginx and HAProxy with a map of keys. All have the same backend (nginx, in a process of its own) and the same load (wrk,
// which says that each answer came).
//
// Machines are shared and their speed moves, so each round runs every subject once, one right after the other, and what
// counts are ratios within a round: the median over the rounds, with the range. CPU time is that of the subject's own
// processes, from /proc. It writes one JSON file, from which bench/chart makes the README's table and chart.
//
//	go run ./bench/system                       # everything: hours
//	go run ./bench/system -short                # one scenario: minutes
//	go run ./bench/system -append -budget 11m   # further rounds of what has the fewest, for so long
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	rounds   int // of each scenario, those of earlier runs among them
	budget   time.Duration
	duration time.Duration
	only     *regexp.Regexp // of subjects
	dir      string         // for stores, logs and configs
	binary   string         // keystile; "": built here
	stock    string         // caddy; "": built here
}

func main() {
	var o options
	short := flag.Bool("short", false, "only the scenario with 1,000 keys, in three short rounds")
	only := flag.String("only", "", "only subjects whose name fits this regular expression; caddy is always there")
	scenarios := flag.String("scenarios", "", "only scenarios whose name fits this regular expression")
	out := flag.String("out", "bench/results.json", "where the results go")
	more := flag.Bool("append", false, "add to the results of earlier runs instead of beginning anew")
	flag.DurationVar(&o.budget, "budget", 0, "begin no round after this time; 0: take all rounds")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of each scenario, with those of earlier runs")
	flag.DurationVar(&o.duration, "duration", 8*time.Second, "of one measurement")
	flag.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "keystile-bench"), "for stores, logs and configurations; stores are kept for the next run")
	flag.StringVar(&o.binary, "keystile", "", "a keystile binary; built if not given")
	flag.StringVar(&o.stock, "caddy", "", "a stock caddy binary; built if not given")
	flag.Parse()
	if *short {
		*scenarios = "^1k/32$"
		o.rounds, o.duration = min(o.rounds, 3), min(o.duration, 3*time.Second)
	}
	o.only = regexp.MustCompile(*only)
	if err := run(&o, regexp.MustCompile(*scenarios), *out, *more); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o *options, wanted *regexp.Regexp, out string, more bool) error {
	began := time.Now()
	results := new(Results)
	if more {
		if err := results.read(out); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if err := o.build(); err != nil {
		return err
	}
	stop, err := startBackend(o)
	if err != nil {
		return err
	}
	defer stop()
	for o.budget == 0 || time.Since(began) < o.budget {
		s := results.next(o.rounds, wanted)
		if s == nil {
			break
		}
		if err := s.round(o, results.of(s)); err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		results.Machine, results.Taken, results.Seconds = machine(), time.Now().UTC().Format(time.DateOnly), o.duration.Seconds()
		if err := results.write(out); err != nil { // after each round: a run is long
			return err
		}
	}
	return nil
}

// next is the scenario that has the fewest rounds, nil if all have enough.
func (r *Results) next(rounds int, wanted *regexp.Regexp) (next *scenario) {
	fewest := rounds
	for _, s := range allScenarios() {
		have := 0
		for _, m := range r.Scenarios {
			if m.Name == s.Name {
				have = m.Rounds
			}
		}
		if wanted.MatchString(s.Name) && have < fewest {
			fewest, next = have, &s
		}
	}
	return next
}

// read takes the results of earlier runs, if there are any.
func (r *Results) read(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, r)
	}
	if err != nil {
		return fmt.Errorf("reading the results of earlier runs: %w", err)
	}
	return nil
}

func (r *Results) write(path string) error {
	order := make(map[string]int)
	for i, s := range allScenarios() {
		order[s.Name] = i
	}
	slices.SortFunc(r.Scenarios, func(a, b *Measured) int { return order[a.Name] - order[b.Name] })
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// machine says what the figures were taken on.
func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	model := "unknown CPU"
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
