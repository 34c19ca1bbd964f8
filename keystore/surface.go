package keystore

import (
	"context"
	"net/netip"
	"time"

	"github.com/keystile/keystile/policy"
)

type sealed struct{ b []byte }

func cutIDPrefix(id string) (string, string, bool) { panic("x") }
func isBase62(s string) bool                       { panic("x") }

type Store struct{}
type Snapshot struct{}

func (s *Store) Lookup(d *policy.Digest) (k *Key, cached bool) { panic("building") }
func (s *Store) HasImported() bool                             { panic("building") }
func (s *Store) Snapshot() *Snapshot                           { panic("building") }
func (s *Store) Directory() policy.Directory                   { panic("building") }
func (s *Store) Touch(k *Key, at time.Time, from netip.Addr)   { panic("building") }
func (s *Store) LastUsed(keyID string) (Usage, bool)           { panic("building") }
func (s *Store) Len() int                                      { panic("building") }
func (s *Store) SetResources(known func(resource string) bool) { panic("building") }
func (s *Store) Close() error                                  { panic("building") }
func (s *Store) CreateOrganization(context.Context, Actor, OrganizationParams) (*Organization, error) {
	panic("building")
}
func (s *Store) UpdateOrganization(context.Context, Actor, string, OrganizationPatch) (*Organization, error) {
	panic("building")
}
func (s *Store) CreateAccount(context.Context, Actor, AccountParams) (*Account, []*Key, error) {
	panic("building")
}
func (s *Store) UpdateAccount(context.Context, Actor, string, AccountPatch) (*Account, error) {
	panic("building")
}
func (s *Store) Connect(ctx context.Context, a Actor, account, connected string) (*Account, error) {
	panic("building")
}
func (s *Store) Disconnect(ctx context.Context, a Actor, account, connected string) (*Account, error) {
	panic("building")
}
func (s *Store) CreateSandbox(ctx context.Context, a Actor, account, name string) (*Sandbox, []*Key, error) {
	panic("building")
}
func (s *Store) DeleteSandbox(ctx context.Context, a Actor, account, id string) error {
	panic("building")
}
func (s *Store) CreateKey(context.Context, Actor, KeyParams) (*Key, policy.Token, error) {
	panic("building")
}
func (s *Store) UpdateKey(ctx context.Context, a Actor, id string, p KeyPatch) (*Key, error) {
	panic("building")
}
func (s *Store) DeleteKey(ctx context.Context, a Actor, id string) (*Key, error) { panic("building") }
func (s *Store) RevealKey(ctx context.Context, a Actor, id string) (*Key, policy.Token, error) {
	panic("building")
}
func (s *Store) RotateKey(ctx context.Context, a Actor, id string, p RotateParams) (*Key, policy.Token, error) {
	panic("building")
}
func (s *Store) DuplicateKey(ctx context.Context, a Actor, id string, p KeyPatch) (*Key, policy.Token, error) {
	panic("building")
}
func (s *Store) ImportKeys(ctx context.Context, a Actor, rows []ImportParams) ([]*Key, error) {
	panic("building")
}

func (v *Snapshot) Organization(id string) (*Organization, bool) { panic("building") }
func (v *Snapshot) Account(id string) (*Account, bool)           { panic("building") }
func (v *Snapshot) Sandbox(id string) (*Sandbox, bool)           { panic("building") }
func (v *Snapshot) Key(id string) (*Key, bool)                   { panic("building") }
func (v *Snapshot) Organizations(p Page) (rows []*Organization, more bool, err error) {
	panic("building")
}
func (v *Snapshot) Accounts(organization string, p Page) (rows []*Account, more bool, err error) {
	panic("building")
}
func (v *Snapshot) Sandboxes(account string, p Page) (rows []*Sandbox, more bool, err error) {
	panic("building")
}
func (v *Snapshot) Keys(f KeyFilter, p Page, now time.Time) (rows []*Key, more bool, err error) {
	panic("building")
}
func (v *Snapshot) Revision() uint64 { panic("building") }

// MasterKey is where the master keyset comes from.
type MasterKey interface{ masterKey() }

func MasterKeyFile(path string) MasterKey                 { panic("building") }
func MasterKeyEnv(name string) MasterKey                  { panic("building") }
func Open(ctx context.Context, o Options) (*Store, error) { panic("building") }
func (s *Store) SetIPv6Ranges(on bool)                    { panic("building") }
