package keystore_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// dying is a backend whose process dies after some writes: none of the later ones happens.
type dying struct {
	keystore.Backend
	left atomic.Int64
}

var errDead = errors.New("the process is dead")

func (d *dying) alive() error {
	if d.left.Add(-1) < 0 {
		return errDead
	}
	return nil
}

func (d *dying) Commit(ctx context.Context, c *keystore.Commit) error {
	if err := d.alive(); err != nil {
		return err
	}
	return d.Backend.Commit(ctx, c)
}

func (d *dying) SwapMeta(ctx context.Context, name string, old, value []byte) (bool, error) {
	if err := d.alive(); err != nil {
		return false, err
	}
	return d.Backend.SwapMeta(ctx, name, old, value)
}

func (d *dying) Keep(ctx context.Context, put []keystore.KeptRow, remove []string) error {
	if err := d.alive(); err != nil {
		return err
	}
	return d.Backend.Keep(ctx, put, remove)
}

func (d *dying) SwapKept(ctx context.Context, swaps []keystore.KeptSwap) ([]bool, error) {
	if err := d.alive(); err != nil {
		return nil, err
	}
	return d.Backend.SwapKept(ctx, swaps)
}

// vault is a store with something of everything that is sealed.
type vault struct {
	account  *keystore.Account
	keys     []*keystore.Key
	member   *keystore.Member
	webhook  *keystore.WebhookEndpoint
	previous string // the secrets of the webhook
	secret   string
	signer   string
	answer   keystore.Answer
}

const vaultSecret = "a verification"

func fillVault(t *testing.T, s *keystore.Store) *vault {
	t.Helper()
	v := new(vault)
	v.account, v.keys = mustAccount(t, s, "A")
	v.member = mustMember(t, s, "ada@example.com", keystore.Grant{Role: keystore.RoleOwner})
	if err := s.EnrollTOTP(t.Context(), by, v.member.ID, policy.TokenFrom("JBSWY3DPEHPK3PXP"), nil, ""); err != nil {
		t.Fatal(err)
	}
	v.webhook, v.previous = mustWebhook(t, s, keystore.WebhookParams{URL: "https://example.com/", Events: []string{"*"}})
	_, secret, err := s.RotateWebhookSecret(t.Context(), by, v.webhook.ID, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	v.secret = secret.Reveal()
	signer, err := s.Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v.signer = signer.KeyID()
	until := time.Now().Add(time.Hour)
	v.answer = keystore.Answer{Caller: "c", Key: "k", Expires: until, Body: []byte("an answer")}
	if err := errors.Join(s.SaveAnswer(t.Context(), &v.answer), s.KeepSecret(t.Context(), vaultSecret, until, []byte("code")),
		s.SaveWebhookState(t.Context(), v.webhook.ID, &keystore.WebhookState{Done: 7})); err != nil {
		t.Fatal(err)
	}
	return v
}

// opens checks that everything that was sealed can be opened.
func (v *vault) opens(t *testing.T, s *keystore.Store) {
	t.Helper()
	for _, k := range v.keys {
		if k.Kind == policy.KindSecret && k.Mode == policy.ModeSandbox { // a live one would be spent by the first look
			if _, token, err := s.RevealKey(t.Context(), by, k.ID); err != nil || token.Digest() != k.Digest {
				t.Errorf("revealing %s: %v", k.ID, err)
			}
		}
	}
	m, _ := s.Snapshot().Member(v.member.ID)
	if c, err := s.MemberCredentials(m); err != nil || c.TOTP.Reveal() != "JBSWY3DPEHPK3PXP" || c.Password.IsZero() {
		t.Errorf("the member's credentials: %v", err)
	}
	w, _ := s.Snapshot().WebhookEndpoint(v.webhook.ID)
	if secrets, err := s.WebhookSecrets(w, time.Now()); err != nil || len(secrets) != 2 || secrets[0].Reveal() != v.secret || secrets[1].Reveal() != v.previous {
		t.Errorf("the webhook's secrets: %d, %v", len(secrets), err)
	}
	if signer, err := s.Signer(t.Context()); err != nil || signer.KeyID() != v.signer {
		t.Errorf("the signing key: %v", err)
	}
	if a, err := s.FindAnswer(t.Context(), "c", "k"); err != nil || a == nil || string(a.Body) != "an answer" {
		t.Errorf("the saved answer: %v", err)
	}
	if code, err := s.KeptSecret(t.Context(), vaultSecret); err != nil || string(code) != "code" {
		t.Errorf("the kept secret: %v", err)
	}
	if state, err := s.WebhookState(t.Context(), w); err != nil || state.Done < 7 {
		t.Errorf("the webhook's state: %v", err)
	}
}

func masterKeys(t *testing.T, s *keystore.Store) *keystore.MasterKeys {
	t.Helper()
	keys, err := s.MasterKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestMasterKeyRotation: after it everything opens, under the new key alone, also for a process that starts anew; the old
// keyset opens nothing any more.
func TestMasterKeyRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	v := fillVault(t, s)
	before, _ := s.Snapshot().Key(v.keys[0].ID)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was := masterKeys(t, s)
	done, err := s.RotateMasterKey(t.Context(), by, false)
	if err != nil {
		t.Fatal(err)
	}
	if done.Keys == 0 || done.Members != 1 || done.Webhooks != 1 || done.Kept != 3 || !done.SigningKeys {
		t.Errorf("sealed anew: %+v", *done)
	}
	v.opens(t, s)
	now := masterKeys(t, s)
	if len(now.Keys) != 1 || now.Primary == was.Primary || now.Primary != now.Keys[0] {
		t.Errorf("the keys are %v with primary %d, they were %v", now.Keys, now.Primary, was.Keys)
	}
	if after, _ := s.Snapshot().Key(v.keys[0].ID); after.Revision != before.Revision {
		t.Errorf("the key is at revision %d, was at %d: nothing of it has changed", after.Revision, before.Revision)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v; want 0600", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("%d files in the directory, want 1", len(left))
	}
	mustClose(t, s)

	if s, err := openWith(t, backend.Reopen(), keystore.MasterKeyText(old)); err == nil {
		mustClose(t, s)
		t.Error("the store opened under the old keyset")
	}
	again := backend.Reopen()
	if s, err = openWith(t, again, keystore.MasterKeyFile(path)); err != nil {
		t.Fatal(err)
	}
	v.opens(t, s)
	var types []string
	for _, e := range events(t, again) {
		if strings.HasPrefix(string(e.Type), "master_key.") {
			types = append(types, string(e.Type))
		}
	}
	want := "master_key.added master_key.promoted master_key.resealed master_key.resealed master_key.resealed master_key.pruned"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	mustClose(t, s)
}

// TestMasterKeyRotationCutOff kills the process before each write of a rotation: the store opens again with everything in
// it, and the rotation can be finished.
func TestMasterKeyRotationCutOff(t *testing.T) {
	t.Parallel()
	for writes := int64(0); ; writes++ {
		path := filepath.Join(t.TempDir(), "master.key")
		memory := keystoretest.NewMemory()
		backend := &dying{Backend: memory}
		backend.left.Store(1 << 40)
		s, err := openWith(t, backend, keystore.MasterKeyFile(path))
		if err != nil {
			t.Fatal(err)
		}
		v := fillVault(t, s)
		was := masterKeys(t, s).Primary
		backend.left.Store(writes)
		_, failed := s.RotateMasterKey(t.Context(), by, false)
		_ = s.Close() // nothing that it does is durable any more

		if s, err = openWith(t, memory.Reopen(), keystore.MasterKeyFile(path)); err != nil {
			t.Fatalf("after %d writes: %v", writes, err)
		}
		v.opens(t, s)
		if _, err := s.RotateMasterKey(t.Context(), by, false); err != nil {
			t.Fatalf("after %d writes: rotating again: %v", writes, err)
		}
		v.opens(t, s)
		if now := masterKeys(t, s); len(now.Keys) != 1 || now.Primary == was {
			t.Errorf("after %d writes: the keys are %v, and the old one was %d", writes, now.Keys, was)
		}
		mustClose(t, s)
		if t.Failed() || failed == nil {
			if writes < 6 {
				t.Errorf("a rotation has %d writes, want one for each step at least", writes)
			}
			return
		}
	}
}

// TestMasterKeyFileCannotBeWritten: where the file cannot be replaced, nothing is sealed under a key that is nowhere.
func TestMasterKeyFileCannotBeWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	blocked := filepath.Join(path+".new", "x") // a directory that is not empty cannot be replaced
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	v := fillVault(t, s)
	was := masterKeys(t, s).Primary
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RotateMasterKey(t.Context(), by, false); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("rotating: %v", err)
	}
	if now := masterKeys(t, s); len(now.Keys) != 1 || now.Primary != was {
		t.Errorf("the keys are %v, want only %d", now.Keys, was)
	}
	unblock := func() {
		if err := os.RemoveAll(path + ".new"); err != nil {
			t.Fatal(err)
		}
	}
	unblock()
	if _, err := s.RotateMasterKey(t.Context(), by, true); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.PruneMasterKey(t.Context(), by); err == nil {
		t.Error("pruned, and the file cannot be written")
	}
	v.opens(t, s)
	mustClose(t, s)
	unblock()
	if s, err = openWith(t, backend.Reopen(), keystore.MasterKeyFile(path)); err != nil {
		t.Fatal(err)
	}
	v.opens(t, s)
	if now := masterKeys(t, s); len(now.Keys) != 2 || now.Primary == was {
		t.Errorf("the keys are %v with primary %d, want the old one kept", now.Keys, now.Primary)
	}
	mustClose(t, s)
}

// TestMasterKeyKeptElsewhere: a keyset that this program cannot write to is changed by hand, and what is to be done is said.
func TestMasterKeyKeptElsewhere(t *testing.T) {
	const name = "KEYSTILE_TEST_ROTATED_KEY"
	path := filepath.Join(t.TempDir(), "keyset")
	text, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	set := func() {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, string(text))
	}
	set()
	backend := keystoretest.NewMemory()
	reopen := func() *keystore.Store {
		s, err := openWith(t, backend.Reopen(), keystore.MasterKeyEnv(name))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := reopen()
	v := fillVault(t, s)
	if _, err := s.RotateMasterKey(t.Context(), by, false); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "add --file") {
		t.Errorf("rotating: %v", err)
	}
	mustClose(t, s)

	id, err := keystore.AddToMasterKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := keystore.AddToMasterKeyFile(path); err != nil || again != id {
		t.Errorf("added %d, and again %d, %v", id, again, err)
	}
	set()
	s = reopen()
	if keys := masterKeys(t, s); keys.Waiting != id || keys.Primary == id {
		t.Errorf("waiting is %d, primary %d, want %d to wait", keys.Waiting, keys.Primary, id)
	}
	if _, err := s.PromoteMasterKey(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	if err := s.PruneMasterKey(t.Context(), by); err == nil || !strings.Contains(err.Error(), "prune --file") {
		t.Errorf("pruning: %v", err)
	}
	mustClose(t, s)
	s = reopen() // the variable still says that the old key is the primary; the store says the new one
	if keys := masterKeys(t, s); keys.Primary != id || keys.Old != (keystore.Sealed{}) {
		t.Errorf("primary is %d, want %d; old: %+v", keys.Primary, id, keys.Old)
	}
	mustClose(t, s)
	if err := keystore.PruneMasterKeyFile(path, id+1); err == nil {
		t.Error("pruned to a key that is not there")
	}
	if err := keystore.PruneMasterKeyFile(path, id); err != nil {
		t.Fatal(err)
	}
	set()
	s = reopen()
	v.opens(t, s)
	mustClose(t, s)
}

// TestMasterKeyReload: what does not open the store is not taken into use.
func TestMasterKeyReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	s, err := openWith(t, keystoretest.NewMemory(), keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, s)
	v := fillVault(t, s)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ReloadMasterKey(t.Context()); err == nil || !strings.Contains(err.Error(), "the keyset in use stays") {
			t.Errorf("%s: %v", what, err)
		}
		v.opens(t, s)
	}
	refused("another keyset", other)
	refused("no keyset", []byte("junk"))
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	// One key is added by hand, and the old one is dropped before anything was sealed anew.
	id, err := keystore.AddToMasterKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := s.ReloadMasterKey(t.Context()); err != nil || keys.Waiting != id {
		t.Fatalf("reloading: %v", err)
	}
	if err := keystore.PruneMasterKeyFile(path, id); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused("the old key dropped too early", text)
}

// TestMasterKeyOnlyInMemory: a key that does not stand in its file any more is not taken into use: all that is sealed under it
// would be lost with the process.
func TestMasterKeyOnlyInMemory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	backend := keystoretest.NewMemory()
	s, err := openWith(t, backend, keystore.MasterKeyFile(path))
	if err != nil {
		t.Fatal(err)
	}
	v := fillVault(t, s)
	was := masterKeys(t, s).Primary
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.AddMasterKey(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	added, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func() error{
		"restored from a backup": func() error { return os.WriteFile(path, old, 0o600) },
		"missing":                func() error { return os.Remove(path) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PromoteMasterKey(t.Context(), by); err == nil || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: promoting: %v", what, err)
		}
		if now := masterKeys(t, s); now.Primary != was || now.Old != (keystore.Sealed{}) {
			t.Errorf("%s: the primary is %d, want %d", what, now.Primary, was)
		}
	}
	if err := os.WriteFile(path, added, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PromoteMasterKey(t.Context(), by); err != nil || masterKeys(t, s).Primary != id {
		t.Errorf("promoting: %v", err)
	}
	mustClose(t, s)
	if s, err = openWith(t, backend.Reopen(), keystore.MasterKeyFile(path)); err != nil {
		t.Fatal(err)
	}
	v.opens(t, s)
	mustClose(t, s)
}
