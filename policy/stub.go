package policy

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"
)

func (r Reason) Code() string   { panic("soon") }
func (r Reason) Type() string   { panic("soon") }
func (r Reason) Status() int    { panic("soon") }
func (r Reason) String() string { panic("soon") }
func Reasons() []Reason         { panic("soon") }

func (k Kind) String() string                  { panic("soon") }
func (k Kind) MarshalText() ([]byte, error)    { panic("soon") }
func (k *Kind) UnmarshalText(b []byte) error   { panic("soon") }
func ParseKind(s string) (Kind, error)         { panic("soon") }
func (m Mode) String() string                  { panic("soon") }
func (m Mode) MarshalText() ([]byte, error)    { panic("soon") }
func (m *Mode) UnmarshalText(b []byte) error   { panic("soon") }
func ParseMode(s string) (Mode, error)         { panic("soon") }
func (a Access) String() string                { panic("soon") }
func (a Access) MarshalText() ([]byte, error)  { panic("soon") }
func (a *Access) UnmarshalText(b []byte) error { panic("soon") }
func ParseAccess(s string) (Access, error)     { panic("soon") }

// Token is a credential in clear. It cannot be printed.
type Token struct {
	_ [0]func()
	s *string
}

func TokenFrom(s string) Token                                    { panic("soon") }
func (t Token) Reveal() string                                    { panic("soon") }
func (t Token) Digest() Digest                                    { panic("soon") }
func (t Token) IsZero() bool                                      { panic("soon") }
func (t Token) Mask() string                                      { panic("soon") }
func (t Token) String() string                                    { panic("soon") }
func (t Token) GoString() string                                  { panic("soon") }
func (t Token) Format(f fmt.State, verb rune)                     { panic("soon") }
func (t Token) MarshalText() ([]byte, error)                      { panic("soon") }
func (t Token) MarshalJSON() ([]byte, error)                      { panic("soon") }
func (t Token) LogValue() slog.Value                              { panic("soon") }
func GenerateToken(rand io.Reader, k Kind, m Mode) (Token, error) { panic("soon") }

// Digest is the SHA-256 of a token.
type Digest [32]byte

func DigestOf(s string) Digest { panic("soon") }

// TokenClass is what a string looks like.
type TokenClass uint8

const (
	TokenInvalid TokenClass = iota
	TokenOurs
	TokenBadChecksum
	TokenForeign
)

func ParseToken(s string) (Kind, Mode, TokenClass) { panic("soon") }
func Mask(s string) string                         { panic("soon") }

// Permissions is an immutable set of resource accesses.
type Permissions struct{ names []string }

func NewPermissions(m map[string]Access) *Permissions { panic("soon") }
func (p *Permissions) Get(resource string) Access     { panic("soon") }
func (p *Permissions) Map() map[string]Access         { panic("soon") }
func (p *Permissions) Len() int                       { panic("soon") }
func (p *Permissions) Equal(o *Permissions) bool      { panic("soon") }

// Networks is a set of address ranges.
type Networks struct{ v4 []uint32 }

// NetworkError says which entry of a list is wrong. Index counts from 0; -1 is the list as a whole.
type NetworkError struct {
	Index  int
	Text   string
	Reason string
}

func (e *NetworkError) Error() string                                  { panic("soon") }
func ParseNetworks(list []string, allowIPv6 bool) (*Networks, error)   { panic("soon") }
func ParseNetworksText(bulk string, allowIPv6 bool) (*Networks, error) { panic("soon") }
func (n *Networks) Contains(a netip.Addr) bool                         { panic("soon") }
func (n *Networks) Strings() []string                                  { panic("soon") }
func (n *Networks) Len() int                                           { panic("soon") }

// Rule is one line of a catalog.
type Rule struct {
	Resource    string
	Access      Access // none: only the publishable mark; access then follows the method
	Methods     []string
	Pattern     string
	Publishable bool
	File        string
	Line        int
}

// RuleError is what is wrong with one rule.
type RuleError struct {
	File   string
	Line   int
	Reason string
}

func (e *RuleError) Error() string { panic("soon") }

// Catalog maps (method, path) to routes.
type Catalog struct{ resources []Resource }

// Resource is one noun of the API.
type Resource struct {
	Name   string
	Read   bool // a route needs read
	Write  bool // a route needs write
	Routes []ResourceRoute
}

// ResourceRoute is one route of a resource.
type ResourceRoute struct {
	Method      string
	Pattern     string
	Access      Access
	Publishable bool
	File        string
	Line        int
}

// NewCatalog compiles rules; overrides win over source on the same shape and method.
func NewCatalog(source, overrides []Rule) (*Catalog, error) { panic("soon") }
func (c *Catalog) Match(method, path string) Route          { panic("soon") }
func (c *Catalog) Has(resource string) bool                 { panic("soon") }
func (c *Catalog) Resources() []Resource                    { panic("soon") }

// PathSet is a set of path patterns.
type PathSet struct{ n int }

func NewPathSet(patterns []string) (*PathSet, error) { panic("soon") }
func (s *PathSet) Contains(path string) bool         { panic("soon") }

// CanonicalPath decodes the path part of a target; ok is false for what is malformed.
func CanonicalPath(escaped string) (path string, ok bool) { panic("soon") }

// VersionRule says which API versions are accepted. The zero value is the default: YYYY-MM-DD with an optional .name.
type VersionRule struct{ list []string }

func VersionPattern(expr string) (VersionRule, error)    { panic("soon") }
func VersionList(versions []string) (VersionRule, error) { panic("soon") }
func (v VersionRule) Match(s string) bool                { panic("soon") }

// Rules is what one site demands.
type Rules struct {
	Catalog *Catalog // nil: knows no route
	Open    *PathSet // nil: nothing is open
	Live    bool     // live keys are served here
	Sandbox bool     // sandbox keys are served here
	Version VersionRule

	// Header names, for Decision.Param and messages. Defaults: Stripe-Context, Stripe-Account, Stripe-Version.
	ContextHeader string
	AccountHeader string
	VersionHeader string
}

func (r *Rules) Decide(p *Principal, q *Request, dir Directory, now time.Time) Decision {
	panic("soon")
}

// Ambiguous says whether matrix parameters change what the path matches. Decide asks it itself.
func (r *Rules) Ambiguous(method, path string) bool { panic("soon") }

// Allowed says whether the request goes on to the backend.
func (d *Decision) Allowed() bool { panic("soon") }

// Message is the one sentence for a denied request. mask is that of the presented token, "" if there is none.
func Message(d *Decision, mask string) string { panic("soon") }

// Required is the permission that the route needs, "charges_write", or "".
func Required(d *Decision) string { panic("soon") }
