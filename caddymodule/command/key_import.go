package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"
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
  kind, mode                secret, publishable or restricted; live or sandbox
  account, organization     the owner, one of them
  name, note, sandbox, permissions, connected_permissions, ip_ranges,
  allowed_origins, expires_at, metadata

In CSV, permissions and metadata are pairs as charges=write customers=read, lists
are separated by blanks, and an empty cell says nothing. Either all keys are
imported or none; a mistake is reported with its line. Tokens are never shown.`,
		Example: `
  keystile key import keys.jsonl
  keystile key import keys.csv --json
  vault kv get -field=keys secret/old | keystile key import -`,
	}
	cmd.Flags().String("format", "", "`FORMAT`: jsonl or csv (default: by the content)")
	return leaf(cmd, []string{"FILE"}, importKeys)
}

func importKeys(c *call) error {
	format, _ := c.flags().GetString("format")
	if format != "" && format != "jsonl" && format != "csv" {
		return misuse("--format %q: want jsonl or csv", format)
	}
	// First, so that two readers of standard input are told before one of them got the other's.
	if _, err := c.connect(); err != nil {
		return err
	}
	name := c.arg(0)
	data, err := c.readFile(name)
	if err != nil {
		return err
	}
	rows, err := parseImport(data, format)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) == 0 {
		return fmt.Errorf("%s: no keys in it", name)
	}
	keys := make([]json.RawMessage, len(rows))
	for i, row := range rows {
		keys[i] = row.object
	}
	if c.note.terminal {
		c.note.linef("Importing %d keys…", len(rows))
	}
	answer, err := c.do("POST", pathTo("keys", "import"), nil, body{"keys": keys})
	if err != nil {
		return c.importError(err, name, rows)
	}
	if c.json {
		return c.out.raw(answer)
	}
	c.out.linef("imported %d keys", len(rows))
	return nil
}

// readFile reads a whole file, or standard input for "-".
func (c *call) readFile(name string) ([]byte, error) {
	if name == "-" {
		return c.stdin("the file")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, name)
}

// position finds the row in the parameter of an import's error, such as keys[3].kind.
var position = regexp.MustCompile(`^keys\[(\d+)\]`)

// importError says what is wrong in which lines of the file: each mistake on a line of its own, if there are several.
func (c *call) importError(err error, name string, rows []importRow) error {
	var refused *apiError
	if !errors.As(err, &refused) {
		return err
	}
	if len(refused.Errors) > 1 {
		for _, row := range refused.Errors {
			one := &apiError{Message: row.Message, Code: row.Code, Param: row.Param}
			c.note.linef("%s", clean(redact(atLine(one, name, rows).Error())))
		}
		return fmt.Errorf("%s has %d mistakes; nothing was imported", name, len(refused.Errors))
	}
	return fmt.Errorf("%w; nothing was imported", atLine(refused, name, rows))
}

// atLine puts the line of the row that an error is about before it.
func atLine(err *apiError, name string, rows []importRow) error {
	if m := position.FindStringSubmatch(err.Param); m != nil {
		if i, convErr := strconv.Atoi(m[1]); convErr == nil && i < len(rows) {
			return fmt.Errorf("%s, line %d: %w", name, rows[i].line, err)
		}
	}
	return err
}
