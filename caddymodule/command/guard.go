package command

import (
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/keystile/keystile/requestlog"
)

// tokenShape finds what looks like a token anywhere in a text: a key's prefix with any body (imported keys may be as short
// as sk_test_123), or `adm_` with a body longer than that of any id (an admin token's id starts with the same letters).
// Masks do not match: they have asterisks after the prefix. Imported tokens of a foreign spelling cannot be known; so the
// refusal of an argument repeats it only where it has the form of a word of this command line. What is percent-encoded, as
// in a path, or in capitals is found by the request log's own search.
var tokenShape = regexp.MustCompile(`((?:sk_org|sk|pk|rk)_(?:live|test)_)[0-9A-Za-z_]+|adm_[0-9A-Za-z_]{30,}`)

// errTokenArgument refuses a token on the command line. It says nothing of the token.
var errTokenArgument = misuse("an argument looks like a token: tokens are never arguments, since the process list and the shell's " +
	"history would keep them; pass it on standard input, and replace the key if it was a real one")

func looksLikeToken(s string) bool { return tokenShape.MatchString(s) || requestlog.LooksLikeToken(s) }

// redact masks what looks like a token in a text that is about to be printed as an error.
func redact(s string) string { return tokenShape.ReplaceAllString(s, "${1}****") }

// refuseTokens fails closed on an argument or a flag that holds what looks like a token.
func refuseTokens(cmd *cobra.Command, args []string) error {
	for _, arg := range args {
		if looksLikeToken(arg) {
			return errTokenArgument
		}
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if looksLikeToken(f.Value.String()) {
			err = errTokenArgument
		}
	})
	return err
}
