package command

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
)

// finding is one token in a file.
type finding struct {
	Path   string   `json:"path"`
	Line   int      `json:"line"`
	Kind   string   `json:"kind"`
	Mode   string   `json:"mode"`
	Masked string   `json:"token_masked"`
	Keys   []string `json:"keys"` // ids of the keys that this can be; empty if the process was not or could not be asked
}

func scanCommand() caddycmd.Command {
	return caddycmd.Command{
		Name:  "scan",
		Usage: "DIR [--publishable] [--offline]",
		Short: "Finds keys that leaked into files",
		Long: strings.TrimSpace(`
Looks through all files below a directory (or through one file) for tokens, by
prefix and checksum, and prints where they are, with a mask. Exits with 1 on a
find.

Nothing of what is found leaves this machine. If there is a find, the local
gateway is asked for the keys that end in the same four characters, so that the
find can be named by its id; --offline asks nobody.

Imported keys of a foreign spelling cannot be recognised. Symbolic links are not
followed, and compressed files are not opened. Publishable keys are public: they
count with --publishable only.`),
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `
  keystile scan .
  keystile scan --json ./deploy`
			cmd.Flags().Bool("publishable", false, "Count publishable keys too")
			cmd.Flags().Bool("offline", false, "Do not ask the gateway for key ids")
			addConnection(cmd.Flags())
			leaf(cmd, []string{"DIR"}, scan)
			seal(cmd)
		},
	}
}

func scan(c *call) error {
	root := c.arg(0)
	if _, err := os.Stat(root); err != nil {
		return err
	}
	publishable, _ := c.flags().GetBool("publishable")
	bar := c.progress()
	findings := []finding{}
	files, unread := 0, 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if c.context().Err() != nil {
			return c.context().Err()
		}
		if err == nil && (entry.IsDir() || path != root && !entry.Type().IsRegular()) {
			return nil
		}
		if err == nil {
			files++
			bar.updatef("%d files, %d found", files, len(findings))
			err = findTokens(path, func(line int, token string) {
				if f, ok := newFinding(path, line, token); ok && (publishable || f.Kind != "publishable") {
					findings = append(findings, f)
				}
			})
		}
		if err != nil {
			// One unreadable file must not hide what is in the others; it makes the scan fail in the end.
			unread++
			bar.done()
			c.warn("%v", err)
		}
		return nil
	})
	bar.done()
	if err != nil {
		return err
	}
	if len(findings) > 0 {
		c.nameKeys(findings)
	}
	if err := c.showFindings(findings); err != nil {
		return err
	}
	switch {
	case len(findings) > 0:
		return errNegative
	case unread > 0:
		return fmt.Errorf("%d of %d files could not be read", unread, files)
	}
	c.note.linef("no keys found in %d files", files)
	return nil
}

// showFindings prints the findings, one line each.
func (c *call) showFindings(findings []finding) error {
	if c.json {
		rows := make([]json.RawMessage, len(findings))
		for i, f := range findings {
			row, err := json.Marshal(f)
			if err != nil {
				return fmt.Errorf("writing the findings: %w", err)
			}
			rows[i] = row
		}
		doc, err := json.Marshal(page{Object: "list", Data: rows})
		if err != nil {
			return fmt.Errorf("writing the findings: %w", err)
		}
		return c.out.raw(doc)
	}
	for _, f := range findings {
		name := ""
		if len(f.Keys) > 0 {
			name = " " + strings.Join(f.Keys, " or ")
		}
		c.out.linef("%s: %s %s %s%s", clean(f.Path+":"+strconv.Itoa(f.Line)), c.out.paint(red, f.Masked), f.Kind, f.Mode, clean(name))
	}
	return nil
}

// nameKeys asks the process for the ids of what was found. It gives away no more than the log of the process has: the last
// four characters. If it cannot be asked, the findings go without ids.
func (c *call) nameKeys(findings []finding) {
	if offline, _ := c.flags().GetBool("offline"); offline {
		return
	}
	known := make(map[string][]string)
	for i := range findings {
		f := &findings[i]
		ids, asked := known[f.Masked]
		if !asked {
			var err error
			if ids, err = c.keysLike(f); err != nil {
				c.warn("the keys are not named: %s", redact(err.Error()))
				return
			}
			known[f.Masked] = ids
		}
		f.Keys = ids
	}
}

// keysLike lists the keys with the finding's mask.
func (c *call) keysLike(f *finding) ([]string, error) {
	query := url.Values{
		"query": {f.Masked[len(f.Masked)-4:]},
		"kind":  {f.Kind},
		"mode":  {f.Mode},
		"limit": {strconv.Itoa(maxPage)},
	}
	ids := []string{}
	err := c.eachPage(pathTo("keys"), query, true, func(p *page, _ bool) error {
		for _, raw := range p.Data {
			var k api.Key
			if err := json.Unmarshal(raw, &k); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			if k.TokenMasked == f.Masked {
				ids = append(ids, k.ID)
			}
		}
		return nil
	})
	return ids, err
}
