package dashboard

import (
	"slices"
	"strings"
)

// The bounds of a summary: up to namesMost resources it names each, beyond that it speaks of whole groups, and it ends after
// wordsMost of both, so that it can be read.
const (
	namesMost = 20
	wordsMost = 30
)

// grants says in sentences what permissions allow, resource by resource.
func grants(own, connected map[string]string) []string {
	return sentences(own, connected, func(names []string, _ map[string]string, _ string) []string { return names })
}

// summarized is grants in few words: of a large catalog it speaks of groups.
func summarized(rows []permissionRow, own, connected map[string]string) []string {
	return sentences(own, connected, func(names []string, column map[string]string, access string) []string {
		if len(names) <= namesMost {
			return names
		}
		return inGroups(rows, column, access)
	})
}

// sentences makes a line for each column and access; say words its names.
func sentences(own, connected map[string]string, say func(names []string, column map[string]string, access string) []string) []string {
	var out []string
	for _, column := range []struct {
		given map[string]string
		where string
	}{{own, ""}, {connected, " on connected accounts"}} {
		for _, access := range []struct{ word, verb string }{{accessWrite, "Read and write "}, {accessRead, "Read "}} {
			var names []string
			for name, a := range column.given {
				if a == access.word {
					names = append(names, name)
				}
			}
			if len(names) == 0 {
				continue
			}
			slices.Sort(names)
			out = append(out, access.verb+strings.Join(say(names, column.given, access.word), ", ")+column.where)
		}
	}
	return out
}

// inGroups names the groups that have an access as a whole, and what has it of the others.
func inGroups(rows []permissionRow, column map[string]string, access string) []string {
	var out []string
	all, left := true, 0
	for i := 0; i < len(rows); {
		end := i
		var names []string
		for ; end < len(rows) && rows[end].group == rows[i].group; end++ {
			if column[rows[end].Name] == access {
				names = append(names, shorten(rows[end].Name, 70))
			}
		}
		whole := len(names) == end-i
		if all = all && whole; whole && len(names) > 1 && rows[i].group != restOfResources {
			names = []string{"all " + count(end-i) + " of " + shorten(rows[i].group, 70)}
		}
		for _, name := range names {
			if len(out) == wordsMost {
				left++
				continue
			}
			out = append(out, name)
		}
		i = end
	}
	switch {
	case all:
		return []string{"everything: all " + count(len(rows)) + " resources"}
	case left > 0:
		out = append(out, "and "+count(left)+" more")
	}
	return out
}
