package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func logExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [filters]",
		Short: "Writes requests as JSON Lines, CSV or Parquet",
		Long: `
Writes all requests that the filters select, newest first, however many they are.
Tables in CSV hold no formulas.

While it is written, FILE is called FILE.partial, so that half a file never looks
whole. An export as JSON Lines that broke off goes on with --resume and the same
filters, behind the last whole line that it has; a duration in --since or --until
then still means the time at which the export began. Any export can be continued
in another file with --starting-after and the id of the last row.`,
		Example: `
  keystile log export --format parquet --since 24h -o out.parquet
  keystile log export --key key_3Jd8sVwQ0xTnB6Lm --status 4xx -o denied.csv
  keystile log export --since 30d -o month.jsonl.gz
  keystile log export --since 30d -o month.jsonl --resume`,
	}
	fs := cmd.Flags()
	addLogFilters(fs)
	fs.String("format", "", "`FORMAT`: jsonl, csv or parquet (default: by the name of the output, else jsonl)")
	fs.StringP("output", "o", "-", "`FILE` to write; it must not exist (-: standard output)")
	fs.Bool("gzip", false, "Compress the output; also if its name ends in .gz. Not for Parquet, which is compressed")
	fs.String("starting-after", "", "`ID` of the last request already seen: continue after it")
	fs.Bool("resume", false, "Go on with FILE.partial if it is there (jsonl)")
	return leaf(cmd, nil, exportLog)
}

// logExtensions are the formats by the end of the output's name.
var logExtensions = map[string]string{".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}

// logExportPlan is what one `log export` is to do.
type logExportPlan struct {
	name   string // of the output, "-" for standard output
	format string
	zipped bool
	resume bool
	query  url.Values
	given  string // the query as it was given, for --resume
}

func exportLog(c *call) error {
	plan, err := c.planLogExport()
	if err != nil {
		return err
	}
	conn, err := c.connect()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if plan.name == "-" {
		err = c.exportToOutput(ctx, conn, plan)
	} else {
		err = c.exportToFile(ctx, conn, plan)
	}
	if err == nil || ctx.Err() == nil || c.context().Err() != nil {
		return err
	}
	var partial *partialError
	if errors.As(err, &partial) {
		return fmt.Errorf("interrupted; %w", partial)
	}
	return fmt.Errorf("interrupted: %w", err)
}

func (c *call) planLogExport() (*logExportPlan, error) {
	fs := c.flags()
	p := &logExportPlan{query: c.logQuery()}
	p.name, _ = fs.GetString("output")
	p.format, _ = fs.GetString("format")
	p.zipped, _ = fs.GetBool("gzip")
	p.resume, _ = fs.GetBool("resume")
	after, _ := fs.GetString("starting-after")
	base, isZip := strings.CutSuffix(strings.ToLower(p.name), ".gz")
	p.zipped = p.zipped || isZip
	if p.format == "" {
		p.format = "jsonl"
		if format := logExtensions[filepath.Ext(base)]; format != "" {
			p.format = format
		}
	}
	switch {
	case p.name == "":
		return nil, misuse("--output is empty")
	case p.format != "jsonl" && p.format != "csv" && p.format != "parquet":
		return nil, misuse("--format %q: want jsonl, csv or parquet", p.format)
	case p.format == "parquet" && p.zipped:
		return nil, misuse("Parquet is compressed by itself: leave out --gzip, and .gz")
	case p.resume && (p.name == "-" || p.format != "jsonl" || p.zipped):
		return nil, misuse("--resume goes on with a file of JSON Lines that is not compressed: give its name with --output")
	case p.resume && after != "":
		return nil, misuse("--resume and --starting-after exclude each other: the file says where it ends")
	case p.name == "-" && c.out.terminal && (p.format == "parquet" || p.zipped):
		return nil, misuse("what is asked for is no text for a terminal: give a file with --output")
	}
	p.given = p.query.Encode()
	for _, name := range []string{"since", "until"} {
		if p.query.Has(name) {
			p.query.Set(name, fixedTime(p.query.Get(name), c.now()))
		}
	}
	p.query.Set("format", p.format)
	if p.zipped {
		p.query.Set("compress", "gzip")
	}
	if after != "" {
		p.query.Set("starting_after", after)
	}
	return p, nil
}

// fixedTime is a duration back from now as the time that it means, so that it means the same when the export goes on later.
// Everything else is for the server to read.
func fixedTime(text string, now time.Time) string {
	var at time.Time
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return text
		}
		at = now.UTC().AddDate(0, 0, -int(n))
	} else {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return text
		}
		at = now.Add(-d)
	}
	return at.UTC().Format(time.RFC3339)
}

// exportToOutput writes to standard output. What was written is out; the error says how to have the rest.
func (c *call) exportToOutput(ctx context.Context, conn *client, p *logExportPlan) error {
	resp, err := conn.send(ctx, "GET", pathTo("request_logs", "export"), p.query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	m := p.meter()
	if err := c.copyOut(m.watch(resp.Body)); err != nil {
		if id := m.id(); id != "" {
			return fmt.Errorf("%w: the output is not whole; --starting-after %s gives the rest", err, id)
		}
		return fmt.Errorf("%w: the output is not whole", err)
	}
	return nil
}
