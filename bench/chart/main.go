// Command chart makes the README's table and chart from the results of bench/system.
//
//	go run ./bench/chart bench/results.json
//
// It writes bench/results.md and bench/results.svg beside the file.
package main

import (
	"encoding/json"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strings"
)

// The parts of bench/system's output that are shown.
type results struct {
	Machine   string     `json:"machine"`
	Taken     string     `json:"taken"`
	Rounds    int        `json:"rounds"`
	Scenarios []scenario `json:"scenarios"`
}

type scenario struct {
	Name        string    `json:"name"`
	Keys        int       `json:"keys"`
	Connections int       `json:"connections"`
	Subjects    []subject `json:"subjects"`
}

type subject struct {
	Name      string `json:"name"`
	PerSecond spread `json:"requests_per_second"`
	CPU       spread `json:"cpu_microseconds_per_request"`
	P50       spread `json:"p50_ms"`
	P99       spread `json:"p99_ms"`
	Memory    spread `json:"resident_mb"`
	CPURatio  spread `json:"cpu_ratio"`
	RateRatio spread `json:"rate_ratio"`
	P99Ratio  spread `json:"p99_ratio"`
}

type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chart RESULTS.json")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	if err := os.WriteFile(stem+".md", []byte(r.table()), 0o644); err != nil {
		return err
	}
	return os.WriteFile(stem+".svg", []byte(r.chart()), 0o644)
}

// table is in Markdown, one for each scenario.
func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken on %s on %s: medians of %d interleaved rounds, with their range. Ratios are against plain Caddy in the same round.\n", r.Taken, r.Machine, r.Rounds)
	for i := range r.Scenarios {
		s := &r.Scenarios[i]
		fmt.Fprintf(&b, "\n**%s** (%d keys, %d connections)\n\n| | CPU per request | against Caddy | requests/s | against Caddy | p50 | p99 | resident |\n|---|---|---|---|---|---|---|---|\n", s.Name, s.Keys, s.Connections)
		for k := range s.Subjects {
			u := &s.Subjects[k]
			fmt.Fprintf(&b, "| %s | %.0f µs | %.2f (%.2f–%.2f) | %.0f | %.2f (%.2f–%.2f) | %.1f ms | %.1f ms | %.0f MB |\n", u.Name, u.CPU.Median,
				u.CPURatio.Median, u.CPURatio.Low, u.CPURatio.High, u.PerSecond.Median, u.RateRatio.Median, u.RateRatio.Low, u.RateRatio.High,
				u.P50.Median, u.P99.Median, u.Memory.Median)
		}
	}
	return b.String()
}

// The chart's measures, in pixels.
const (
	labelWidth = 250
	barSpace   = 420
	rowHeight  = 26
)

// chart shows the CPU time against plain Caddy in the first scenario, with the range as a line.
func (r *results) chart() string {
	var b strings.Builder
	if len(r.Scenarios) == 0 {
		return `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>` + "\n"
	}
	s := &r.Scenarios[0]
	most := 1.0
	for i := range s.Subjects {
		most = max(most, s.Subjects[i].CPURatio.High)
	}
	x := func(ratio float64) float64 { return labelWidth + ratio/most*barSpace }
	height := rowHeight*len(s.Subjects) + 60
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" role="img">`+"\n", labelWidth+barSpace+70, height)
	title := fmt.Sprintf("CPU time per request against plain Caddy: %d keys, %d connections", s.Keys, s.Connections)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>text{fill:#333}rect{fill:#9ab}rect.own{fill:#06c}line{stroke:#333}@media(prefers-color-scheme:dark){text{fill:#ddd}line{stroke:#ddd}}</style>\n", html.EscapeString(title))
	fmt.Fprintf(&b, `<text x="0" y="18" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	for i := range s.Subjects {
		u := &s.Subjects[i]
		y := 34 + i*rowHeight
		class := ""
		if strings.HasPrefix(u.Name, "keystile") {
			class = ` class="own"`
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect%s x="%d" y="%d" width="%.1f" height="%d"/>`,
			labelWidth-8, y+14, html.EscapeString(u.Name), class, labelWidth, y, x(u.CPURatio.Median)-labelWidth, rowHeight-8)
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%[3]d"/><text x="%.1f" y="%d">%.2f</text>`+"\n",
			x(u.CPURatio.Low), x(u.CPURatio.High), y+9, x(u.CPURatio.High)+6, y+14, u.CPURatio.Median)
	}
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%[1]f" y1="28" y2="%d" stroke-dasharray="3"/>`+"\n", x(1), height-24)
	fmt.Fprintf(&b, `<text x="0" y="%d" font-size="11">%s</text>`+"\n</svg>\n", height-6, html.EscapeString(r.Machine+", "+r.Taken))
	return b.String()
}
