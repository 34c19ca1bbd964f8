package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/keystile/keystile/policy"
)

const (
	scanChunk = 1 << 20 // bytes read at a time
	// scanOverlap is kept of each chunk for the next one, so that no token is cut: more than the longest token.
	scanOverlap = 128
	tokenBody   = 38
)

// infixes stand in every token of ours, behind its kind. They are searched for because a search for a fixed text is many
// times faster than one for a pattern.
var infixes = [...][]byte{[]byte("_live_"), []byte("_test_")}

// kinds are the beginnings of tokens, before the infix. The longer one comes first.
var kinds = [][]byte{[]byte("sk_org"), []byte("sk"), []byte("pk"), []byte("rk")}

// findTokens calls found with each token of ours in a file and its line, from 1.
func findTokens(path string, found func(line int, token string)) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: no regular file", path)
	}
	return findTokensIn(file, found)
}

// findTokensIn is findTokens for a stream of any length, in constant memory.
func findTokensIn(r io.Reader, found func(line int, token string)) error {
	buf := make([]byte, scanOverlap+scanChunk)
	kept, line := 0, 1
	for {
		n, err := io.ReadFull(r, buf[kept:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		data := buf[:kept+n]
		// A token that begins in the overlap is left to the next chunk, where it is whole.
		end := len(data)
		if !last {
			end -= scanOverlap
		}
		searchChunk(data, end, line, found)
		if last {
			return nil
		}
		line += bytes.Count(data[:end], []byte{'\n'})
		kept = copy(buf, data[end:])
	}
}

// searchChunk finds the tokens of data that begin before end. line is the line of data's first byte.
func searchChunk(data []byte, end, line int, found func(line int, token string)) {
	counted := 0
	search := newInfixSearch(data)
	for infix := search.next(); infix >= 0; infix = search.next() {
		start := tokenStart(data[:infix])
		stop := infix + len(infixes[0]) + tokenBody
		if start < 0 || start >= end || stop > len(data) {
			continue
		}
		token := string(data[start:stop])
		if _, _, class := policy.ParseToken(token); class != policy.TokenOurs {
			continue // a lookalike: the checksum is wrong
		}
		line += bytes.Count(data[counted:start], []byte{'\n'})
		counted = start
		found(line, token)
	}
}

// infixSearch walks over the places of all infixes in order. It remembers the next place of each, so that a file full of one
// infix is not searched for the other again and again.
type infixSearch struct {
	data []byte
	at   [len(infixes)]int // next place of each infix, len(data) if there is none
}

func newInfixSearch(data []byte) *infixSearch {
	s := &infixSearch{data: data}
	for i := range infixes {
		s.seek(i, 0)
	}
	return s
}

// seek finds the next place of infix i from from on.
func (s *infixSearch) seek(i, from int) {
	s.at[i] = len(s.data)
	if n := bytes.Index(s.data[from:], infixes[i]); n >= 0 {
		s.at[i] = from + n
	}
}

// next is the next place of any infix, -1 at the end.
func (s *infixSearch) next() int {
	first := 0
	for i := range s.at {
		if s.at[i] < s.at[first] {
			first = i
		}
	}
	place := s.at[first]
	if place == len(s.data) {
		return -1
	}
	s.seek(first, place+1)
	return place
}

// tokenStart is where the kind begins that ends before is, or -1.
func tokenStart(before []byte) int {
	for _, kind := range kinds {
		if bytes.HasSuffix(before, kind) {
			return len(before) - len(kind)
		}
	}
	return -1
}

// newFinding describes a token without holding it.
func newFinding(path string, line int, token string) (finding, bool) {
	kind, mode, class := policy.ParseToken(token)
	if class != policy.TokenOurs {
		return finding{}, false
	}
	return finding{Path: path, Line: line, Kind: kind.String(), Mode: mode.String(), Masked: policy.Mask(token), Keys: []string{}}, true
}
