package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// scenario is one load that all subjects get.
type scenario struct {
	Name        string
	keys        int
	connections int
	zipf        bool          // how keys are used; false: all alike
	churn       bool          // 10 keys made and 10 revoked each second
	bad         int           // percent of requests with a key that is none
	pace        time.Duration // each connection waits this long before its next request; 0: none
}

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
			scenario{Name: keys.name + "/paced", keys: keys.count, connections: 32, pace: 12 * time.Millisecond},
		)
	}
	return all
}

// Results is the output file.
type Results struct {
	Machine   string     `json:"machine"`
	Taken     string     `json:"taken"`
	Rounds    int        `json:"rounds"`
	Seconds   float64    `json:"seconds"`
	Scenarios []Measured `json:"scenarios"`
}

// Measured is one scenario.
type Measured struct {
	Name        string    `json:"name"`
	Keys        int       `json:"keys"`
	Connections int       `json:"connections"`
	Subjects    []Subject `json:"subjects"`
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
}

// Spread is a median and its range.
type Spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := sorted[len(sorted)/2]
	if len(sorted)%2 == 0 {
		middle = (middle + sorted[len(sorted)/2-1]) / 2
	}
	return Spread{Median: middle, Low: sorted[0], High: sorted[len(sorted)-1]}
}

// run takes all rounds.
func (s *scenario) run(o *options) (Measured, error) {
	load, err := o.prepare(s)
	if err != nil {
		return Measured{}, err
	}
	var names []string
	samples := make(map[string][]sample)
	for round := range o.rounds {
		var base *sample
		for _, subject := range subjects(s) {
			if subject.name != plain && !o.only.MatchString(subject.name) {
				continue
			}
			one, err := o.measure(&subject, s, load)
			if err != nil {
				return Measured{}, fmt.Errorf("%s: %w", subject.name, err)
			}
			if subject.name == plain {
				base = one
			}
			one.against(base)
			fmt.Printf("%-12s round %d  %-28s %7.1f µs  x%.3f  %7.0f/s  x%.2f  p99 %6.1f ms  %5.0f MB\n",
				s.Name, round+1, subject.name, one.cpu, one.cpuRatio, one.rate, one.rateRatio, one.p99, one.memory)
			if !slices.Contains(names, subject.name) {
				names = append(names, subject.name)
			}
			samples[subject.name] = append(samples[subject.name], *one)
		}
	}
	m := Measured{Name: s.Name, Keys: s.keys, Connections: s.connections}
	for _, name := range names {
		m.Subjects = append(m.Subjects, summed(name, samples[name]))
	}
	return m, nil
}

// sample is one measurement.
type sample struct {
	rate, cpu, p50, p99, memory   float64
	cpuRatio, rateRatio, p99Ratio float64
}

func (s *sample) against(base *sample) {
	base = cmp.Or(base, s)
	s.cpuRatio, s.rateRatio, s.p99Ratio = s.cpu/base.cpu, s.rate/base.rate, s.p99/base.p99
}

func summed(name string, samples []sample) Subject {
	of := func(get func(*sample) float64) Spread {
		values := make([]float64, len(samples))
		for i := range samples {
			values[i] = get(&samples[i])
		}
		return spread(values)
	}
	return Subject{
		Name:      name,
		PerSecond: of(func(s *sample) float64 { return s.rate }),
		CPU:       of(func(s *sample) float64 { return s.cpu }),
		P50:       of(func(s *sample) float64 { return s.p50 }),
		P99:       of(func(s *sample) float64 { return s.p99 }),
		Memory:    of(func(s *sample) float64 { return s.memory }),
		CPURatio:  of(func(s *sample) float64 { return s.cpuRatio }),
		RateRatio: of(func(s *sample) float64 { return s.rateRatio }),
		P99Ratio:  of(func(s *sample) float64 { return s.p99Ratio }),
	}
}
