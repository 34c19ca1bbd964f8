package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxInput bounds what is read from standard input or a file, in bytes.
const maxInput = 64 << 20

// call is one invocation of a command: its arguments, its streams, and the way to the process.
type call struct {
	cmd  *cobra.Command
	args []string
	out  *output
	note *output // standard error: warnings, progress
	json bool

	stdinTaken string  // what standard input was read for, "" if it was not
	conn       *client // once connect has found it
	now        func() time.Time
}

func newCall(cmd *cobra.Command, args []string) *call {
	asJSON, _ := cmd.Flags().GetBool("json") // false where a command has no such flag
	return &call{
		cmd:  cmd,
		args: args,
		out:  newOutput(cmd.OutOrStdout()),
		note: newOutput(cmd.ErrOrStderr()),
		json: asJSON,
		now:  time.Now,
	}
}

// context ends with the process.
func (c *call) context() context.Context { return c.cmd.Context() }

// arg is the i-th positional argument, "" if it was left out.
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

// id is the i-th positional argument, which must be an id with the given prefix.
func (c *call) id(i int, prefix string) (string, error) {
	return checkID("the argument", c.arg(i), prefix)
}

// checkID says whether s can be an id with one of the prefixes, and returns it. The check keeps mistakes from travelling,
// and the refusal does not repeat the text: who mistakes the two gives a token where an id is wanted.
func checkID(what, s string, prefixes ...string) (string, error) {
	for _, prefix := range prefixes {
		if body, ok := strings.CutPrefix(s, prefix); ok && body != "" && isBase62(body) {
			return s, nil
		}
	}
	return "", misuse("%s is not the id that is wanted here: want %s…", what, strings.Join(prefixes, "… or "))
}

func isBase62(s string) bool {
	for i := range len(s) {
		b := s[i]
		if (b < '0' || b > '9') && (b < 'A' || b > 'Z') && (b < 'a' || b > 'z') {
			return false
		}
	}
	return true
}

// flags is the command's flag set.
func (c *call) flags() *pflag.FlagSet { return c.cmd.Flags() }

// stdin reads standard input once. A second reader in one call is misuse: what names both.
func (c *call) stdin(what string) ([]byte, error) {
	r, err := c.stdinReader(what)
	if err != nil {
		return nil, err
	}
	return readAll(r, what)
}

// stdinReader is stdin for what is not read whole.
func (c *call) stdinReader(what string) (io.Reader, error) {
	if c.stdinTaken != "" {
		return nil, misuse("standard input cannot give both %s and %s", c.stdinTaken, what)
	}
	c.stdinTaken = what
	return c.cmd.InOrStdin(), nil
}

// readAll reads r up to maxInput.
func readAll(r io.Reader, what string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	if len(data) > maxInput {
		return nil, fmt.Errorf("reading %s: more than %d MiB", what, maxInput>>20)
	}
	return data, nil
}

// secretLine reads one token from standard input: a single line. Its text appears in no error.
func (c *call) secretLine(what string) (string, error) {
	data, err := c.stdin(what)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", misuse("%s is expected on standard input, which is empty", what)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "", misuse("%s is expected on standard input as a single line, and nothing else", what)
	}
	return secret, nil
}

// get asks for path and returns the answer as it came.
func (c *call) get(path string, query url.Values) ([]byte, error) {
	return c.do(http.MethodGet, path, query, nil)
}

// do sends one request. A nil body sends none.
func (c *call) do(method, path string, query url.Values, body any) ([]byte, error) {
	conn, err := c.connect()
	if err != nil {
		return nil, err
	}
	return conn.do(c.context(), method, path, query, body)
}

// show prints an answer: as it came with --json, else decoded into T and laid out by text.
func show[T any](c *call, answer []byte, text func(*T) error) error {
	if c.json {
		return c.out.raw(answer)
	}
	var value T
	if err := json.Unmarshal(answer, &value); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return text(&value)
}

// pathTo joins path segments below the API's root, escaped.
func pathTo(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}
