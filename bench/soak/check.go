package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mayBeLost is how long before a kill the record of a request may have ended to be lost.
const mayBeLost = 200 * time.Millisecond

// checkRecords looks for the record of every request that was answered before a time. killed is when the process was killed; the zero
// time: it was not.
func (s *soak) checkRecords(before, killed time.Time) {
	began := time.Now()
	want := s.answers.take(before)
	have, err := s.recorded(s.since.Add(-time.Second))
	if err != nil {
		s.fault("reading the records: %v", err)
		return
	}
	s.since = began
	if !killed.IsZero() {
		s.since = killed.Add(-5 * time.Second) // late answers are noted after the restart
	}
	for _, a := range want {
		s.records.Add(1)
		if have[a.id] {
			continue
		}
		if killed.IsZero() {
			s.fault("the record of %s is missing", a.id)
			continue
		}
		age := killed.Sub(a.at)
		if age > mayBeLost {
			s.fault("the record of %s is missing, whose request ended %v before the kill", a.id, age)
		}
		s.young.Add(1)
		s.mu.Lock()
		s.oldest = max(s.oldest, age)
		s.mu.Unlock()
	}
}

// checkKeys asks for every key and compares; of those whose last call had no answer, it learns what became of them.
func (s *soak) checkKeys() {
	for _, k := range s.keys.all() {
		is, _ := k.look()
		if is == changing {
			continue // the call under way sees to it
		}
		var got seen
		if err := s.call("GET", "/v1/keys/"+k.id, nil, &got); err != nil {
			s.fault("an acknowledged key is lost: %s: %v", k.id, err)
			continue
		}
		if is == unknown {
			k.end(got.is())
		} else if got.is() != is {
			s.fault("key %s: state %d was acknowledged, and %s, addresses %q is there", k.id, is, got.Status, got.IPRanges)
		}
	}
}

// sample is what the process takes at one moment.
type sample struct {
	pid                         int
	rss, goroutines, descriptor int
}

// watch takes samples. Those of the last third of the time are of one process.
func (s *soak) watch(ctx context.Context) {
	every := max(time.Second, min(10*time.Second, s.o.length/60))
	for sleep(ctx, every) {
		s.running.RLock()
		if one, err := s.measure(); err == nil {
			s.mu.Lock()
			s.samples = append(s.samples, one)
			s.mu.Unlock()
		} else if !s.down.Load() {
			s.fault("measuring: %v", err)
		}
		s.running.RUnlock()
	}
}

func (s *soak) measure() (one sample, err error) {
	one.pid = s.gateway.pid()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", one.pid))
	if err != nil {
		return one, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	if fields := strings.Fields(rest); len(fields) > 0 {
		if one.rss, err = strconv.Atoi(fields[0]); err != nil {
			return one, err
		}
	}
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", one.pid))
	if err != nil {
		return one, err
	}
	one.descriptor = len(open)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.gateway.admin+"/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		return one, err
	}
	w, err := s.client.Do(r)
	if err != nil {
		return one, err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		return one, err
	}
	_, err = fmt.Sscanf(string(text), "goroutine profile: total %d", &one.goroutines)
	return one, err
}

// grown compares the first half of the samples of the last process with the second half.
func (s *soak) grown() (text string) {
	var last []sample
	for _, one := range s.samples {
		if len(last) > 0 && last[0].pid != one.pid {
			last = nil
		}
		last = append(last, one)
	}
	if len(last) < 8 {
		return "too few samples to judge growth"
	}
	last = last[len(last)/4:] // a process that has just begun grows
	half := len(last) / 2
	middle := func(samples []sample, of func(sample) int) int {
		var all []int
		for _, one := range samples {
			all = append(all, of(one))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, m := range []struct {
		name        string
		of          func(sample) int
		part, extra int // what counts as growth: a part of what was, in percent, and more than so many
	}{
		{"memory, KiB", func(s sample) int { return s.rss }, 25, 16 << 10},
		{"goroutines", func(s sample) int { return s.goroutines }, 25, 20},
		{"descriptors", func(s sample) int { return s.descriptor }, 25, 20},
	} {
		first, second := middle(last[:half], m.of), middle(last[half:], m.of)
		text += fmt.Sprintf("| %s, median of the first and of the second half of the last %d samples | %d, %d |\n", m.name, len(last), first, second)
		if second > first+first*m.part/100+m.extra {
			s.found = append(s.found, fmt.Sprintf("%s grew from %d to %d", m.name, first, second))
		}
	}
	return text
}

// report prints the figures as a table.
func (s *soak) report(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	growth := s.grown()
	fmt.Printf("\n| %s, %s | |\n|---|---|\n", time.Now().Format("2006-01-02"), took.Round(time.Second))
	for _, line := range []struct {
		name  string
		value any
	}{
		{"requests answered", s.requests.Load()}, {"of them rightly refused", s.refused.Load()}, {"requests without an answer, during kills and reloads", s.resets.Load()},
		{"calls of the admin API", s.calls.Load()}, {"of them revocations", s.revoked.Load()}, {"reloads", s.reloaded.Load()},
		{"kill -9; clean restarts", fmt.Sprintf("%d; %d", s.killed.Load(), s.stopped.Load())}, {"keys in the end", len(s.keys.all())},
		{"records looked for", s.records.Load()}, {"of them lost by kills; age of the oldest", fmt.Sprintf("%d; %v", s.young.Load(), s.oldest.Round(time.Millisecond))},
	} {
		fmt.Printf("| %s | %v |\n", line.name, line.value)
	}
	fmt.Print(growth)
	fmt.Printf("| not as it should be | %d |\n", len(s.found))
	for _, text := range s.found[:min(len(s.found), 50)] {
		fmt.Println("FAULT", text)
	}
	if len(s.found) > 0 {
		fmt.Println("the end of the gateway's log:\n" + s.gateway.tail())
	}
}
