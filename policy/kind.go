package policy

import "fmt"

// Kind is what a key is for.
type Kind uint8

// The kinds of key. The zero value is no kind.
const (
	KindSecret Kind = iota + 1
	KindPublishable
	KindRestricted
	KindOrganization
)

// kindWords are the texts of the kinds, in configuration, JSON and headers. Index 0 is no kind.
var kindWords = [...]string{"", "secret", "publishable", "restricted", "organization"}

// String returns "secret", "publishable", "restricted" or "organization", and "" for no kind.
func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return ""
}

// ParseKind reads the text of a kind. Texts are lower case.
func ParseKind(s string) (Kind, error) {
	i, err := parseWord("kind", s, kindWords[:], 1)
	return Kind(i), err
}

// MarshalText gives the text of the kind. No kind is an error: it would not be read back.
func (k Kind) MarshalText() ([]byte, error) {
	return marshalWord("kind", k.String(), int(k))
}

// UnmarshalText reads the text of a kind.
func (k *Kind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseKind(string(b))
	return err
}

// Mode is the world that a key lives in. A key has exactly one and never acts in the other.
type Mode uint8

// The modes. The zero value is no mode.
const (
	ModeLive Mode = iota + 1
	ModeSandbox
)

var modeWords = [...]string{"", "live", "sandbox"}

// String returns "live" or "sandbox", and "" for no mode.
func (m Mode) String() string {
	if int(m) < len(modeWords) {
		return modeWords[m]
	}
	return ""
}

// ParseMode reads the text of a mode. Texts are lower case.
func ParseMode(s string) (Mode, error) {
	i, err := parseWord("mode", s, modeWords[:], 1)
	return Mode(i), err
}

// MarshalText gives the text of the mode. No mode is an error: it would not be read back.
func (m Mode) MarshalText() ([]byte, error) {
	return marshalWord("mode", m.String(), int(m))
}

// UnmarshalText reads the text of a mode.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}

// Access is a level of permission on a resource: none < read < write, and write includes read.
type Access uint8

// The levels of access.
const (
	AccessNone Access = iota
	AccessRead
	AccessWrite
)

var accessWords = [...]string{"none", "read", "write"}

// String returns "none", "read" or "write", and "" for what is no level.
func (a Access) String() string {
	if int(a) < len(accessWords) {
		return accessWords[a]
	}
	return ""
}

// ParseAccess reads the text of a level of access. Texts are lower case.
func ParseAccess(s string) (Access, error) {
	i, err := parseWord("access", s, accessWords[:], 0)
	return Access(i), err
}

// MarshalText gives the text of the level.
func (a Access) MarshalText() ([]byte, error) {
	return marshalWord("access", a.String(), int(a))
}

// UnmarshalText reads the text of a level of access.
func (a *Access) UnmarshalText(b []byte) (err error) {
	*a, err = ParseAccess(string(b))
	return err
}

// parseWord finds s among words[first:]. On an error it answers 0, which is the weakest value of every such type.
func parseWord(what, s string, words []string, first int) (int, error) {
	for i := first; i < len(words); i++ {
		if words[i] == s {
			return i, nil
		}
	}
	list := ""
	for i := first; i < len(words); i++ {
		switch {
		case i == first:
		case i == len(words)-1:
			list += " or "
		default:
			list += ", "
		}
		list += words[i]
	}
	return 0, fmt.Errorf("unknown %s %q: it must be %s", what, s, list)
}

func marshalWord(what, word string, value int) ([]byte, error) {
	if word == "" {
		return nil, fmt.Errorf("%s %d has no text", what, value)
	}
	return []byte(word), nil
}
