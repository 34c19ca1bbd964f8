package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestMisuse: what is wrong with the command line itself gives exit code 2, one sentence and a hint, and nothing on
// standard output. No server runs: none may be asked.
func TestMisuse(t *testing.T) {
	const key = "key_3Jd8sVwQ0xTnB6Lm"
	tests := []struct {
		args string
		want string
	}{
		{"key", "a verb is missing"},
		{"key frobnicate", `unknown verb "frobnicate"`},
		{"key get", "argument KEY is missing"},
		{"key get a b", "too many arguments"},
		{"key get acct_123", "want key_…"},
		{"key get key_", "want key_…"},
		{"key get ../accounts", "want key_…"},
		{"key list --frobnicate", "unknown flag: --frobnicate"},
		{"key list --limit many", "invalid argument"},
		{"key list --limit 0", "want 1 to 100"},
		{"key list --limit 101", "want 1 to 100"},
		{"key create --mode live --kind secret", "one owner is wanted"},
		{"key create --account acct_1 --organization org_1 --mode live --kind secret", "one owner is wanted"},
		{"key create --account acct_1 --kind secret", "--mode is missing"},
		{"key create --account acct_1 --mode live", "--kind is missing"},
		{"key create --account key_1 --mode live --kind secret", "want acct_…"},
		{"key create --account acct_1 --mode live --kind restricted --permission charges", "want resource=access"},
		{"key create --account acct_1 --mode live --kind restricted --permission charges=admin", "none, read or write"},
		{"key create --account acct_1 --mode live --kind restricted --permission charges=read,charges=write", "was given as read before"},
		{"key create --account acct_1 --mode live --kind restricted --permissions none --permission charges=read", "want resource=access"},
		{"key create --account acct_1 --mode live --kind secret --ip 1.2.3.4 --ip-ranges 1.2.3.5", "exclude each other"},
		{"key create --account acct_1 --mode live --kind secret --ip-ranges -", "--ip-ranges is empty"},
		{"key create --account acct_1 --mode live --kind secret --expire-in 24h --expires-at 2030-01-01T00:00:00Z", "exclude each other"},
		{"key create --account acct_1 --mode live --kind secret --expire-in tomorrow", "want a duration"},
		{"key create --account acct_1 --mode live --kind secret --expire-in -5m", "want a duration"},
		{"key create --account acct_1 --mode live --kind secret --expires-at tomorrow", "want a time"},
		{"key create --account acct_1 --mode live --kind secret --metadata team", "want NAME=VALUE"},
		{"key create --account acct_1 --mode live --kind secret --metadata a=1 --metadata a=2", "twice"},
		{"key create --account acct_1 --mode live --kind secret --json --token-only", "exclude each other"},
		{"key edit " + key, "nothing to edit"},
		{"key edit " + key + " --ip 1.2.3.4 --no-ip-restriction", "exclude each other"},
		{"key edit " + key + " --origin https://a.example --no-origin-restriction", "exclude each other"},
		{"key edit " + key + " --metadata a=1 --no-metadata", "exclude each other"},
		{"key edit " + key + " --expire-in 1h --no-expiry", "exclude each other"},
		{"key import", "argument FILE is missing"},
		{"key import - --format xml", "want jsonl or csv"},
		{"org create", "a name is missing"},
		{"org create one --name two", "given twice"},
		{"org edit org_1", "nothing to edit"},
		{"account edit acct_1", "nothing to edit"},
		{"account connect acct_1", "argument CONNECTED is missing"},
		{"sandbox list", "--account is missing"},
		{"sandbox create staging", "--account is missing"},
		{"sandbox delete sbx_1 --account org_1", "want acct_…"},
		{"explain GET /v1/charges", "one key is wanted"},
		{"explain --key " + key + " --token-stdin GET /v1/charges", "one key is wanted"},
		{"explain --key " + key + " GET v1/charges", "begins with a slash"},
		{"explain --key " + key + " GET", "argument PATH is missing"},
		{"explain --token-stdin GET /v1/charges", "standard input, which is empty"},
		{"catalog check", "argument FILE is missing"},
		{"log show", "argument REQUEST is missing"},
		{"log show key_1", "want req_…"},
		{"log tail --count -1", "want a number from 0"},
		{"log export --format xml", "want jsonl, csv or parquet"},
		{"log export --format parquet --gzip -o x", "compressed by itself"},
		{"log export -o x.parquet.gz", "compressed by itself"},
		{"log export --resume", "give its name with --output"},
		{"log export --resume -o x.csv", "goes on with a file of JSON Lines"},
		{"log export --resume -o x.jsonl.gz", "that is not compressed"},
		{"log export --resume -o x.jsonl --starting-after req_1", "exclude each other"},
		{"log export --output=", "--output is empty"},
		{"scan", "argument DIR is missing"},
		{"key list --url ftp://keys.example", "want https://HOST"},
		{"key list --url https://user:pass@keys.example", "without user"},
		{"key list --url http://keys.example", "in clear"},
		{"key list --url https://keys.example --address localhost:2019", "name two processes"},
		{"key list --token-stdin", "--url, which is missing"},
		{"key list --address localhost:1-3", "one port is wanted"},
	}
	t.Setenv(adminTokenVariable, adminToken)
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			r := execute(t, "", strings.Fields(test.args)...)
			if r.code != 2 {
				t.Errorf("exit code %d, want 2", r.code)
			}
			if r.stdout != "" {
				t.Errorf("standard output has %q, want nothing", r.stdout)
			}
			contains(t, "standard error", r.stderr, test.want, "usage: keystile ", "--help")
			lacks(t, "standard error", r.stderr, "exiting with status")
		})
	}
}

// TestNoAdminToken: --url without a token is misuse, and says where to put it.
func TestNoAdminToken(t *testing.T) {
	t.Setenv(adminTokenVariable, "")
	r := execute(t, "", "key", "list", "--url", "https://keys.example")
	if r.code != 2 {
		t.Errorf("exit code %d, want 2", r.code)
	}
	contains(t, "standard error", r.stderr, adminTokenVariable, "--token-stdin")
}

// TestTokensAreNeverArguments: what looks like a token is refused wherever it stands, before anybody is asked, and comes
// back in no output.
func TestTokensAreNeverArguments(t *testing.T) {
	for _, token := range []string{
		"sk_live_0123456789abcdefghijABCDEFGHIJ012345678",
		"rk_test_0123456789abcdefghijABCDEFGHIJ012345678",
		"sk_org_live_0123456789abcdefghijABCDEFGHIJ0123456",
		"pk_live_0123456789abcdefghijABCDEFGHIJ012345678",
		"sk_test_123",
		adminToken,
	} {
		body := token[strings.LastIndexByte(token, '_')+1:]
		for _, args := range [][]string{
			{"key", token},
			{"key", "get", token},
			{"key", "reveal", token, "--json"},
			{"key", "list", "--query", token},
			{"key", "list", "--limit", token},
			{"key", "list", "--" + token},
			{"key", "list", "-" + token},
			{"key", "list", "--mode=" + token},
			{"key", "create", "--account", token, "--mode", "live", "--kind", "secret"},
			{"key", "create", "--account", "acct_1", "--mode", "live", "--kind", "secret", "--note", "was " + token},
			{"key", "create", "--account", "acct_1", "--mode", "live", "--kind", "secret", "--metadata", "old=" + token},
			{"key", "create", "--account", "acct_1", "--mode", "live", "--kind", "secret", "--expire-in", token},
			{"key", "import", token},
			{"org", "create", token},
			{"explain", "--key", token, "GET", "/v1/charges"},
			{"explain", "--token-stdin", token, "GET", "/v1/charges"},
			{"explain", "--key", "key_1", "GET", "/v1/charges?key=" + token},
			{"log", "list", "--key", token},
			{"log", "tail", "--decision", token},
			{"scan", token},
			{"catalog", "list", "--url", "https://keys.example/" + token},
		} {
			if token == adminToken && args[len(args)-1] == "-"+token {
				continue // -a is --adapter
			}
			r := execute(t, "", args...)
			if r.code != 2 {
				t.Errorf("%v: exit code %d, want 2", args, r.code)
			}
			if strings.Contains(r.stdout+r.stderr, body) {
				t.Errorf("%v: the token is repeated:\n%s%s", args, r.stdout, r.stderr)
			}
		}
	}
}

// TestTokensStayOutOfAdminCalls: nor does a token get into the URL of a call to the process by its spelling, as a filter, a
// cursor or an id.
func TestTokensStayOutOfAdminCalls(t *testing.T) {
	const body = "0123456789abcdefghijABCDEFGHIJ01234567"
	for _, token := range []string{"sk%5Flive%5F" + body, "rk%255ftest%255f" + body, "SK_LIVE_" + body, "%73k_live_" + body, "sk_live_'" + body} {
		for _, args := range [][]string{
			{"key", "get", token},
			{"log", "show", token},
			{"log", "list", "--path", "/v1/customers/" + token},
			{"log", "list", "--key", token},
			{"log", "list", "--idempotency-key", token},
			{"log", "tail", "--request-id", token},
			{"key", "list", "--starting-after", token},
			{"key", "list", "--account", token},
			{"explain", "--key", "key_1", "GET", "/v1/charges?key=" + token},
		} {
			r := execute(t, "", args...)
			if r.code != 2 {
				t.Errorf("%v: exit code %d, want 2", args, r.code)
			}
			contains(t, "standard error", r.stderr, "looks like a token")
			lacks(t, "output", r.stdout+r.stderr, body)
		}
	}
}

// TestMaskIsNoToken: masks are what every list prints, and may be searched for.
func TestMaskIsNoToken(t *testing.T) {
	for _, s := range []string{"sk_live_****abcd", "key_3Jd8sVwQ0xTnB6Lm", "adm_3Jd8sVwQ0xTnB6Lm", "vault: billing", "task_live", "charges=write", "/v1/customers/sk_live_*"} {
		if looksLikeToken(s) {
			t.Errorf("looksLikeToken(%q) is true, want false", s)
		}
	}
}

// TestHelp: every command says what it does, at length and by example, and each example is a command line that parses.
func TestHelp(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s has no short or no long help", cmd.CommandPath())
		}
		if len(cmd.Commands()) == 0 {
			if cmd.Example == "" {
				t.Errorf("%s has no example", cmd.CommandPath())
			}
			for _, line := range exampleLines(cmd.Example) {
				checkExample(t, line)
			}
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no help", cmd.CommandPath(), f.Name)
			}
		})
		r := execute(t, "", append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
		if r.code != 0 {
			t.Errorf("%s --help: exit code %d, want 0", cmd.CommandPath(), r.code)
		}
		contains(t, cmd.CommandPath()+" --help", r.stdout, "Usage:", "--help")
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range root().Commands() {
		if cmd.Name() != "help" && cmd.Name() != "completion" {
			walk(cmd)
		}
	}
}

// exampleLines joins continued lines.
func exampleLines(example string) []string {
	joined := strings.ReplaceAll(example, "\\\n", " ")
	var lines []string
	for line := range strings.Lines(joined) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// checkExample parses an example up to the point where it would run.
func checkExample(t *testing.T, line string) {
	t.Helper()
	_, own, ok := strings.Cut(line, "keystile ")
	if !ok {
		t.Errorf("example %q does not call keystile", line)
		return
	}
	own, _, _ = strings.Cut(own, " | ")
	own, _, _ = strings.Cut(own, " < ")
	cmd, rest, err := root().Find(splitWords(own))
	if err != nil {
		t.Errorf("example %q: %v", line, err)
		return
	}
	ran := false
	arity := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error { ran = true; return nil }
	if arity == nil {
		t.Errorf("example %q names no command", line)
	}
	// Each verb knows its flags only below its noun: run the whole tree.
	top := cmd.Root()
	top.SetArgs(splitWords(own))
	var out buffer
	top.SetOut(&out)
	top.SetErr(&out)
	if err := top.Execute(); err != nil && !errors.Is(err, pflag.ErrHelp) || !ran {
		t.Errorf("example %q does not parse (%v): %s", line, rest, out.String())
	}
}

// splitWords splits a shell line with quotes.
func splitWords(line string) []string {
	var words []string
	var word strings.Builder
	quote, open := rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, open = r, true
		case r == ' ':
			if word.Len() > 0 || open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
		}
	}
	if word.Len() > 0 || open {
		words = append(words, word.String())
	}
	return words
}

// TestJSONEverywhere: every command can print what it has to say as JSON.
func TestJSONEverywhere(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Runnable() && !cmd.HasSubCommands() && cmd.LocalFlags().Lookup("json") == nil && cmd.InheritedFlags().Lookup("json") == nil {
			t.Errorf("%s has no --json", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	for _, cmd := range root().Commands() {
		if cmd.Name() != "help" && cmd.Name() != "completion" {
			walk(cmd)
		}
	}
}
