package command

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/keystile/keystile/admin/api"
)

func keyImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Imports keys that exist already, from JSON Lines or CSV",
		Long: `
Imports keys that clients hold already, so that they need no new ones. FILE is
JSON Lines (one object a line) or CSV with a head line; - is standard input. Both
use the names of the API:

  token                     the token, in any spelling, or
  sha256                    its SHA-256 in hexadecimal, if the token is not known
  last4                     with sha256: the token's last four characters
  kind, mode                secret, publishable, restricted or organization; live
                            or sandbox
  account, organization     the owner, one of them
  name, note, sandbox, permissions, connected_permissions, ip_ranges,
  allowed_origins, expires_at, metadata

In CSV, permissions and metadata are pairs as charges=write customers=read, or
JSON; lists are separated by blanks, and an empty cell says nothing.

The file may have two million keys. It is validated whole before anything is
written, and imported whole or not at all, also if the gateway is killed meanwhile;
mistakes are reported with their lines, the first hundred of them. --dry-run
validates only. Tokens are never shown, and not kept.`,
		Example: `
  keystile key import keys.jsonl
  keystile key import keys.csv --dry-run
  vault kv get -field=keys secret/old | keystile key import -`,
	}
	cmd.Flags().String("format", "", "`FORMAT`: jsonl or csv (default: by the content)")
	cmd.Flags().Bool("dry-run", false, "Validate the file and write nothing")
	return leaf(cmd, []string{"FILE"}, importKeys)
}

var importMedia = map[string]string{"jsonl": "application/x-ndjson", "csv": "text/csv"}

func importKeys(c *call) error {
	format, _ := c.flags().GetString("format")
	if format != "" && importMedia[format] == "" {
		return misuse("--format %q: want jsonl or csv", format)
	}
	// First, so that two readers of standard input are told before one of them got the other's.
	conn, err := c.connect()
	if err != nil {
		return err
	}
	name := c.arg(0)
	file, size, err := c.openInput(name)
	if err != nil {
		return err
	}
	defer file.Close()
	start := bufio.NewReaderSize(file, 4096)
	if format == "" {
		if format, err = formatOf(start); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	query := make(url.Values)
	dryRun, _ := c.flags().GetBool("dry-run")
	if dryRun {
		query.Set("dry_run", "true")
	}
	progress := c.progress()
	resp, err := conn.upload(c.context(), "POST", pathTo("key_imports"), query, importMedia[format],
		&watchedReader{r: start, size: size, progress: progress})
	progress.done()
	if err != nil {
		return c.importError(err, name)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", conn.where, err)
	}
	return show(c, answer, func(sum *api.KeyFileImport) error {
		if sum.DryRun {
			c.out.linef("%d keys are fit to be imported; nothing was written", sum.Keys)
			return nil
		}
		c.out.linef("imported %d keys", sum.Keys)
		return nil
	})
}

// openInput opens a file, or standard input for "-". The size is -1 if it is not known.
func (c *call) openInput(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		r, err := c.stdinReader("the file")
		return io.NopCloser(r), -1, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	if !info.Mode().IsRegular() {
		return file, -1, nil
	}
	return file, info.Size(), nil
}

// formatOf tells JSON Lines from CSV by the first character.
func formatOf(r *bufio.Reader) (string, error) {
	start, err := r.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	start = bytes.TrimSpace(bytes.TrimPrefix(start, []byte("\xef\xbb\xbf"))) // the byte order mark of some spreadsheets
	if len(start) > 0 && start[0] == '{' {
		return "jsonl", nil
	}
	return "csv", nil
}

// watchedReader shows how far an upload has come.
type watchedReader struct {
	r        io.Reader
	size     int64 // -1: not known
	sent     int64
	progress *progress
}

func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.r.Read(b)
	w.sent += int64(n)
	switch {
	case err != nil || w.sent == w.size:
		w.progress.updatef("The gateway checks and stores the keys…")
	case w.size > 0:
		w.progress.updatef("Sent %d of %d MiB (%d %%)", w.sent>>20, w.size>>20, w.sent*100/w.size)
	default:
		w.progress.updatef("Sent %d MiB", w.sent>>20)
	}
	return n, err
}

// importError says what is wrong in which lines of the file: each mistake on a line of its own, if there are several.
func (c *call) importError(err error, name string) error {
	var refused *apiError
	if !errors.As(err, &refused) {
		return fmt.Errorf("%s: %w", name, err)
	}
	rows := make([]error, 0, len(refused.Errors))
	for _, row := range refused.Errors {
		one := &apiError{Message: row.Message, Code: row.Code, Param: row.Param}
		rows = append(rows, fmt.Errorf("%s, line %d: %w", name, row.Line, one))
	}
	switch len(rows) {
	case 0:
		return fmt.Errorf("%s: %w; nothing was imported", name, refused)
	case 1:
		return fmt.Errorf("%w; nothing was imported", rows[0])
	}
	for _, row := range rows {
		c.note.linef("%s", clean(redact(row.Error())))
	}
	return fmt.Errorf("%s has %d mistakes; nothing was imported", name, len(rows))
}
