package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func addExport(fs *pflag.FlagSet) {
	fs.String("format", "", "`FORMAT`: jsonl or csv (default: by the name of the output, else jsonl)")
	fs.StringP("output", "o", "-", "`FILE` to write; it must not exist (-: standard output)")
}

func keyExport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [flags]",
		Short: "Writes what is known of keys as JSON Lines or CSV",
		Long: `
Writes what is known of keys, newest first, with the filters of 'key list'. Tokens
are not in it, not even publishable ones.`,
		Example: `
  keystile key export -o keys.csv
  keystile key export --account acct_9fKq2LmZx81TnWvB --status active`,
	}
	fs := cmd.Flags()
	for _, name := range []string{"account", "organization", "sandbox", "mode", "kind", "status", "query"} {
		fs.String(name, "", "As in 'key list'")
	}
	addExport(fs)
	return leaf(cmd, nil, func(c *call) error {
		query := make(url.Values)
		c.filter(query, "account", "organization", "sandbox", "mode", "kind", "status", "query")
		return c.export(pathTo("keys", "export"), query)
	})
}

// export asks for an export and writes it as it comes.
func (c *call) export(path string, query url.Values) error {
	name, _ := c.flags().GetString("output")
	format, _ := c.flags().GetString("format")
	if format == "" {
		format = "jsonl"
		if filepath.Ext(name) == ".csv" {
			format = "csv"
		}
	}
	if importMedia[format] == "" {
		return misuse("--format %q: want jsonl or csv", format)
	}
	query.Set("format", format)
	conn, err := c.connect()
	if err != nil {
		return err
	}
	resp, err := conn.send(c.context(), "GET", path, query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.save(name, resp.Body, 0o644)
}

// save writes a stream to a file, or to standard output for "-". A file that is there is not replaced, and one that was not
// finished is removed: half an export looks like a whole one.
func (c *call) save(name string, data io.Reader, mode os.FileMode) (err error) {
	if name == "-" {
		return c.copyOut(data)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	progress := c.progress()
	written, err := io.Copy(file, &watchedReader{r: data, size: -2, progress: progress})
	progress.done()
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", name, err), os.Remove(name))
	}
	c.note.linef("wrote %s (%d bytes)", clean(name), written)
	return nil
}

// copyOut writes a stream line by line, so that a terminal gets nothing that it might obey.
func (c *call) copyOut(data io.Reader) error {
	if !c.out.terminal {
		_, err := io.Copy(c.out.w, data)
		return err
	}
	r := bufio.NewReaderSize(data, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if writeErr := c.out.write(line); writeErr != nil {
			return writeErr
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
	}
}
