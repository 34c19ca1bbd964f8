package command

import (
	"strings"

	"github.com/spf13/cobra"
)

// flagWords are the values of flags that mean the same wherever they stand, for shell completion.
var flagWords = map[string][]cobra.Completion{
	"kind": {"secret", "publishable", "restricted", "organization"},
	"mode": {"live", "sandbox"},
	"role": {"owner", "administrator", "developer", "viewer"},
}

// complete tells the shell what can follow: values of flags, and file names only where a file is wanted.
func complete(cmd *cobra.Command, args []string) {
	for name, words := range flagWords {
		if cmd.Flags().Lookup(name) != nil {
			// The one error is that it was registered before, which is as good.
			_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	cmd.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(given) < len(args) && isFile(args[len(given)]) {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func isFile(argument string) bool {
	switch strings.Trim(argument, "[]") {
	case "FILE", "DIR":
		return true
	}
	return false
}
