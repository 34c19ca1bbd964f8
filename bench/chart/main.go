// Command chart makes the README's table and chart from the results of bench/system.
//
//	go run ./bench/chart bench/results.json README.md
//
// It writes bench/results.md and bench/results.svg beside the file, and the first scenario's table between the marks in the
// README.
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
	Seconds   float64    `json:"seconds"`
	Scenarios []scenario `json:"scenarios"`
}

type scenario struct {
	Name        string    `json:"name"`
	Keys        int       `json:"keys"`
	Connections int       `json:"connections"`
	Rate        int       `json:"rate"`
	Rounds      int       `json:"rounds"`
	Elsewhere   spread    `json:"elsewhere"`
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

// The marks in the README between which the table stands.
const (
	beginMark = "<!-- bench/chart: begin -->\n"
	endMark   = "<!-- bench/chart: end -->\n"
)

func main() {
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: chart RESULTS.json [README.md]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func run(path string, readmes []string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if len(r.Scenarios) == 0 {
		return fmt.Errorf("%s has no scenario", path)
	}
	stem := strings.TrimSuffix(path, filepath.Ext(path))
	var all strings.Builder
	all.WriteString(r.heading())
	for i := range r.Scenarios {
		all.WriteString(r.Scenarios[i].table())
	}
	if err := os.WriteFile(stem+".md", []byte(all.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(stem+".svg", []byte(r.chart()), 0o644); err != nil {
		return err
	}
	for _, readme := range readmes {
		if err := r.writeInto(readme); err != nil {
			return err
		}
	}
	return nil
}

// writeInto puts the first scenario's table between the marks of a README.
func (r *results) writeInto(readme string) error {
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), beginMark)
	_, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the table: %s", readme, strings.TrimSpace(beginMark))
	}
	return os.WriteFile(readme, []byte(before+beginMark+r.heading()+r.Scenarios[0].table()+endMark+after), 0o644)
}

func (r *results) heading() string {
	return fmt.Sprintf("Taken on %s on %s: medians of interleaved rounds of %.0f s, with their range. Ratios are against plain Caddy in the same round; CPU time is that of the server's processes.\n",
		r.Taken, r.Machine, r.Seconds)
}

// table is in Markdown.
func (s *scenario) table() string {
	var b strings.Builder
	load := "as many requests as the server takes"
	if s.Rate > 0 {
		load = fmt.Sprintf("%d requests a second, latency from when each was due", s.Rate)
	}
	fmt.Fprintf(&b, "\n**%s**: %d keys, %d connections, %s; %d rounds, in which others took %.0f %% of the machine's CPU time (%.0f to %.0f)\n\n"+
		"| | CPU per request | against Caddy | requests/s | against Caddy | p50 | p99 | p99 against Caddy | resident |\n|---|---|---|---|---|---|---|---|---|\n",
		s.Name, s.Keys, s.Connections, load, s.Rounds, s.Elsewhere.Median*100, s.Elsewhere.Low*100, s.Elsewhere.High*100)
	for k := range s.Subjects {
		u := &s.Subjects[k]
		fmt.Fprintf(&b, "| %s | %.0f µs | %.2f (%.2f–%.2f) | %.0f | %.2f (%.2f–%.2f) | %.1f ms | %.1f ms | %.2f (%.2f–%.2f) | %.0f MB |\n", u.Name, u.CPU.Median,
			u.CPURatio.Median, u.CPURatio.Low, u.CPURatio.High, u.PerSecond.Median, u.RateRatio.Median, u.RateRatio.Low, u.RateRatio.High,
			u.P50.Median, u.P99.Median, u.P99Ratio.Median, u.P99Ratio.Low, u.P99Ratio.High, u.Memory.Median)
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
