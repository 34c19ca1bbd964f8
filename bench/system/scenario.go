package main

import (
	"fmt"
	"slices"
)

// scenario is one load that all subjects get.
type scenario struct {
	Name        string
	keys        int
	connections int
	zipf        bool // how keys are used; false: all alike
	churn       bool // 10 keys made and 10 revoked each second
	bad         int  // percent of requests with a key that is none
	rate        int  // requests a second, whatever the server does; 0: as many as it takes
}

// pacedRate is about a fifth of what two cores take of plain Caddy.
const pacedRate = 2000

func allScenarios() (all []scenario) {
	for _, keys := range []struct {
		name  string
		count int
	}{{"1k", 1_000}, {"100k", 100_000}, {"1M", 1_000_000}} {
		all = append(all,
			scenario{Name: keys.name + "/32", keys: keys.count, connections: 32},
			scenario{Name: keys.name + "/128", keys: keys.count, connections: 128},
			scenario{Name: keys.name + "/zipf", keys: keys.count, connections: 32, zipf: true},
			scenario{Name: keys.name + "/zipf+churn", keys: keys.count, connections: 32, zipf: true, churn: true},
			scenario{Name: keys.name + "/bad", keys: keys.count, connections: 32, bad: 5},
			scenario{Name: keys.name + "/paced", keys: keys.count, connections: 32, rate: pacedRate},
		)
	}
	return all
}

// Results is the output file.
type Results struct {
	Machine   string      `json:"machine"`
	Taken     string      `json:"taken"`
	Seconds   float64     `json:"seconds"` // of one measurement
	Scenarios []*Measured `json:"scenarios"`
}

// Measured is one scenario.
type Measured struct {
	Name        string     `json:"name"`
	Keys        int        `json:"keys"`
	Connections int        `json:"connections"`
	Rate        int        `json:"rate,omitempty"`
	Rounds      int        `json:"rounds"`
	Elsewhere   Spread     `json:"elsewhere"` // the share of the machine's CPU time that others took meanwhile
	Subjects    []*Subject `json:"subjects"`
}

// Subject is what one subject did, as medians over the rounds.
type Subject struct {
	Name      string `json:"name"`
	PerSecond Spread `json:"requests_per_second"`
	CPU       Spread `json:"cpu_microseconds_per_request"`
	P50       Spread `json:"p50_ms"`
	P99       Spread `json:"p99_ms"`
	Memory    Spread `json:"resident_mb"`
	// Against plain Caddy in the same round.
	CPURatio  Spread `json:"cpu_ratio"`
	RateRatio Spread `json:"rate_ratio"`
	P99Ratio  Spread `json:"p99_ratio"`

	Samples []*Sample `json:"samples"`
}

// Sample is one measurement.
type Sample struct {
	Rate      float64 `json:"requests_per_second"`
	CPU       float64 `json:"cpu_microseconds_per_request"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Memory    float64 `json:"resident_mb"`
	Elsewhere float64 `json:"elsewhere"`
	CPURatio  float64 `json:"cpu_ratio"`
	RateRatio float64 `json:"rate_ratio"`
	P99Ratio  float64 `json:"p99_ratio"`
}

// Spread is a median and its range.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spread[T any](samples []*T, of func(*T) float64) Spread {
	if len(samples) == 0 {
		return Spread{}
	}
	sorted := make([]float64, len(samples))
	for i := range samples {
		sorted[i] = of(samples[i])
	}
	slices.Sort(sorted)
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return Spread{Median: middle, Low: sorted[0], High: sorted[len(sorted)-1]}
}

// of is the scenario's part of the results, made if it is new.
func (r *Results) of(s *scenario) *Measured {
	for _, m := range r.Scenarios {
		if m.Name == s.Name {
			return m
		}
	}
	m := &Measured{Name: s.Name, Keys: s.keys, Connections: s.connections, Rate: s.rate}
	r.Scenarios = append(r.Scenarios, m)
	return m
}

// round measures each subject once, one right after the other.
func (s *scenario) round(o *options, m *Measured) error {
	load, err := o.prepare(s)
	if err != nil {
		return err
	}
	var base *Sample
	var names []string
	var samples []*Sample
	for _, subject := range subjects(s) {
		if subject.name != plain && !o.only.MatchString(subject.name) {
			continue
		}
		one, err := o.measure(&subject, s, load)
		if err != nil {
			return fmt.Errorf("%s: %w", subject.name, err)
		}
		if subject.name == plain {
			base = one
		}
		one.CPURatio, one.RateRatio, one.P99Ratio = one.CPU/base.CPU, one.Rate/base.Rate, one.P99/base.P99
		fmt.Printf("%-14s round %-2d %-31s %7.1f µs  x%.3f  %7.0f/s  x%.2f  p99 %6.1f ms  %5.0f MB  elsewhere %2.0f %%\n",
			s.Name, m.Rounds+1, subject.name, one.CPU, one.CPURatio, one.Rate, one.RateRatio, one.P99, one.Memory, one.Elsewhere*100)
		names, samples = append(names, subject.name), append(samples, one)
	}
	for i, name := range names { // whole rounds only
		m.add(name, samples[i])
	}
	m.Rounds++
	var all []*Sample
	for _, u := range m.Subjects {
		u.sum()
		all = append(all, u.Samples...)
	}
	m.Elsewhere = spread(all, func(s *Sample) float64 { return s.Elsewhere })
	return nil
}

func (m *Measured) add(name string, one *Sample) {
	i := slices.IndexFunc(m.Subjects, func(u *Subject) bool { return u.Name == name })
	if i < 0 {
		i = len(m.Subjects)
		m.Subjects = append(m.Subjects, &Subject{Name: name})
	}
	m.Subjects[i].Samples = append(m.Subjects[i].Samples, one)
}

func (u *Subject) sum() {
	u.PerSecond = spread(u.Samples, func(s *Sample) float64 { return s.Rate })
	u.CPU = spread(u.Samples, func(s *Sample) float64 { return s.CPU })
	u.P50 = spread(u.Samples, func(s *Sample) float64 { return s.P50 })
	u.P99 = spread(u.Samples, func(s *Sample) float64 { return s.P99 })
	u.Memory = spread(u.Samples, func(s *Sample) float64 { return s.Memory })
	u.CPURatio = spread(u.Samples, func(s *Sample) float64 { return s.CPURatio })
	u.RateRatio = spread(u.Samples, func(s *Sample) float64 { return s.RateRatio })
	u.P99Ratio = spread(u.Samples, func(s *Sample) float64 { return s.P99Ratio })
}
