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
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	rounds   int
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
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of each scenario")
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
	if err := run(&o, regexp.MustCompile(*scenarios), *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o *options, wanted *regexp.Regexp, out string) error {
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
	results := Results{Machine: machine(), Taken: time.Now().UTC().Format(time.DateOnly), Rounds: o.rounds, Seconds: o.duration.Seconds()}
	for _, s := range allScenarios() {
		if !wanted.MatchString(s.Name) {
			continue
		}
		measured, err := s.run(o)
		if err != nil {
			return fmt.Errorf("scenario %s: %w", s.Name, err)
		}
		results.Scenarios = append(results.Scenarios, measured)
		text, err := json.MarshalIndent(&results, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil { // after each scenario: a run is long
			return err
		}
	}
	return nil
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
