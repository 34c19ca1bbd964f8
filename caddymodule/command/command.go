package command

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	for _, cmd := range commands() {
		caddycmd.RegisterCommand(cmd)
	}
}

// commands lists what this package adds to the binary, in the order of the help text.
func commands() []caddycmd.Command {
	return []caddycmd.Command{
		orgCommand(),
		accountCommand(),
		sandboxCommand(),
		keyCommand(),
		tokenCommand(),
		memberCommand(),
		webhookCommand(),
		nodeCommand(),
		logCommand(),
		eventCommand(),
		explainCommand(),
		catalogCommand(),
		scanCommand(),
		masterKeyCommand(),
		storeCommand(),
		backupCommand(),
		restoreCommand(),
	}
}

// group makes a noun: a command that does nothing but hold verbs. The verbs are made anew for each command tree, since
// Caddy builds the tree more than once (for its manual pages, for instance).
func group(name, short, long string, verbs ...func() *cobra.Command) caddycmd.Command {
	return caddycmd.Command{
		Name:  name,
		Usage: "<verb>",
		Short: short,
		Long:  strings.TrimSpace(long),
		CobraFunc: func(cmd *cobra.Command) {
			for _, verb := range verbs {
				cmd.AddCommand(verb())
			}
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				return finish(cmd, verbError(cmd, args))
			}
			addConnection(cmd.PersistentFlags())
			seal(cmd)
		},
	}
}

// verbError says what is wrong with a noun that was called without one of its verbs.
func verbError(cmd *cobra.Command, args []string) error {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	list := strings.Join(names, ", ")
	if len(args) == 0 {
		return misuse("a verb is missing: one of %s", list)
	}
	if looksLikeToken(args[0]) {
		return errTokenArgument
	}
	if !verbShape.MatchString(args[0]) {
		return misuse("unknown verb: want one of %s", list)
	}
	return misuse("unknown verb %q: want one of %s", args[0], list)
}

// verbShape is what a mistyped verb looks like, and may be repeated.
var verbShape = regexp.MustCompile(`^[A-Za-z-]{1,20}$`)

// leaf makes a command that does something. args names its positional arguments, all required; one in [brackets] may be
// left out.
func leaf(cmd *cobra.Command, args []string, run func(*call) error) *cobra.Command {
	cmd.Long = strings.TrimSpace(cmd.Long)
	cmd.Example = strings.Trim(cmd.Example, "\n")
	// Arity is judged in RunE, where finish can turn a mistake into exit code 2.
	cmd.Args = cobra.ArbitraryArgs
	complete(cmd, args)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		// First of all, and before anything that could repeat an argument.
		if err := refuseTokens(cmd, given); err != nil {
			return finish(cmd, err)
		}
		if err := checkArity(args, given); err != nil {
			return finish(cmd, err)
		}
		return finish(cmd, run(newCall(cmd, given)))
	}
	return cmd
}

// checkArity compares the given positional arguments with the names of the wanted ones.
func checkArity(want, given []string) error {
	if len(given) > len(want) {
		return misuse("too many arguments: %d, want %d", len(given), len(want))
	}
	for i, name := range want {
		if i >= len(given) && !strings.HasPrefix(name, "[") {
			return misuse("argument %s is missing", name)
		}
		if i < len(given) && given[i] == "" {
			return misuse("argument %s is empty", strings.Trim(name, "[]"))
		}
	}
	return nil
}

// seal gives a command and its verbs the error handling of this package: cobra prints nothing by itself, and a wrong flag
// is misuse.
func seal(cmd *cobra.Command) {
	cmd.SilenceErrors = true
	cmd.SilenceUsage = true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return finish(cmd, misuse("%s", flagMessage(err)))
	})
	for _, sub := range cmd.Commands() {
		seal(sub)
	}
}

// flagMessage words a flag error. The value at fault is left out if it could be a token: pflag repeats it otherwise.
func flagMessage(err error) string {
	if looksLikeToken(err.Error()) {
		return errTokenArgument.Error()
	}
	return err.Error()
}

// misuseError is a mistake in how a command was called: exit code 2.
type misuseError struct{ message string }

func (e *misuseError) Error() string { return e.message }

func misuse(format string, args ...any) error {
	return &misuseError{fmt.Sprintf(format, args...)}
}

// errNegative ends a command with exit code 1 and without a word: it has printed its finding already.
var errNegative = errors.New("the answer is no")

// errFailed is what a failed command hands to Caddy's main, which turns it into exit code 1. It was printed before.
var errFailed = errors.New("failed")

// finish prints err as one sentence on standard error and gives it the form in which Caddy's main finds the exit code.
func finish(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errNegative) {
		return errFailed
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "%s: %s\n", cmd.CommandPath(), clean(redact(err.Error())))
	var wrong *misuseError
	if !errors.As(err, &wrong) {
		return errFailed
	}
	fmt.Fprintf(w, "usage: %s\nTry '%s --help'.\n", cmd.UseLine(), cmd.CommandPath())
	return exitWith(cmd, 2)
}

// exitWith makes the error by which Caddy's main knows an exit code other than 1. Its type is Caddy's own; the wrapper is
// the way to one.
func exitWith(cmd *cobra.Command, code int) error {
	status := func(caddycmd.Flags) (int, error) { return code, nil }
	return caddycmd.WrapCommandFuncForCobra(status)(cmd, nil)
}
