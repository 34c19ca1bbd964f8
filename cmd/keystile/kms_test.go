package main_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

const kmsKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// fakeKMS is AWS's key management service as far as it is used, over its real protocol. It encrypts by turning bits over,
// and notes the encryption context in what it gives out, as the service binds to it.
type fakeKMS struct {
	*httptest.Server
	calls atomic.Int64
	away  atomic.Bool
}

func newFakeKMS(t *testing.T) *fakeKMS {
	t.Helper()
	k := new(fakeKMS)
	k.Server = httptest.NewServer(http.HandlerFunc(k.serve))
	t.Cleanup(k.Close)
	return k
}

type kmsCall struct {
	KeyID             string            `json:"KeyId"`
	Plaintext         []byte            `json:",omitempty"`
	CiphertextBlob    []byte            `json:",omitempty"`
	EncryptionContext map[string]string `json:",omitempty"`
}

func turnOver(b []byte) []byte {
	out := make([]byte, len(b))
	for i := range b {
		out[i] = b[i] ^ 0x5a
	}
	return out
}

func (k *fakeKMS) serve(w http.ResponseWriter, r *http.Request) {
	k.calls.Add(1)
	var in kmsCall
	if k.away.Load() || json.NewDecoder(r.Body).Decode(&in) != nil || in.KeyID != kmsKey || !strings.Contains(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256") {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"AccessDeniedException","message":"no"}`))
		return
	}
	bound, _ := json.Marshal(in.EncryptionContext)
	mark := base64.StdEncoding.EncodeToString(bound) + "|"
	out := kmsCall{KeyID: kmsKey}
	switch r.Header.Get("X-Amz-Target") {
	case "TrentService.Encrypt":
		out.CiphertextBlob = append([]byte(mark), turnOver(in.Plaintext)...)
	case "TrentService.Decrypt":
		rest, ok := strings.CutPrefix(string(in.CiphertextBlob), mark)
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"InvalidCiphertextException"}`))
			return
		}
		out.Plaintext = turnOver([]byte(rest))
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(out)
}

const kmsSecret = "the-secret-of-the-aws-credentials"

// newKMSGateway is a gateway that finds the service, and its credentials, in its environment.
func newKMSGateway(t *testing.T, kms *fakeKMS) *gatetest.Gateway {
	t.Helper()
	g := gatetest.New(t)
	g.Admin.Remember(kmsSecret)
	for _, pair := range []string{
		"CADDY_ADMIN=" + g.AdminAddr, "AWS_ENDPOINT_URL_KMS=" + kms.URL, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=" + kmsSecret,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
	} {
		g.Setenv(pair)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: "master_key kms aws-kms://" + kmsKey}.Text(g))
	return g
}

func kmsPath(g *gatetest.Gateway) string {
	return filepath.Join(filepath.Dir(g.StorePath()), "master.kms")
}

// TestMasterKeyByKMS: the keyset is at rest as the service has encrypted it, no request asks the service, a rotation works as
// with a file, and without the service nothing starts.
func TestMasterKeyByKMS(t *testing.T) {
	t.Parallel()
	kms := newFakeKMS(t)
	g := newKMSGateway(t, kms)
	wants(t, g.Run(t, "validate", "--config", g.ConfigPath()), 0, "Valid configuration")
	if kms.calls.Load() != 0 {
		t.Error("validate asked the service")
	}
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	file := kmsPath(g)
	first, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(first), "encryptedKeyset") {
		t.Errorf("the file holds no encrypted keyset: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v, want mode 0600", info, err)
	}
	if _, err := os.Stat(masterKeyPath(g)); err == nil {
		t.Error("there is a keyset in clear beside it")
	}
	asked := kms.calls.Load()
	for range 3 {
		g.Admin.Reveal(t, key.ID)
	}
	if kms.calls.Load() != asked {
		t.Error("revealing asks the service")
	}
	wants(t, g.Run(t, "master-key", "rotate"), 0, "encrypted by aws-kms://"+kmsKey, "nothing is sealed under old keys")
	if now, err := os.ReadFile(file); err != nil || string(now) == string(first) {
		t.Errorf("the file is the old one: %v", err)
	}
	g.Stop(t)
	g.Start(t)
	if again := g.Admin.Reveal(t, key.ID); again.Token != key.Token {
		t.Error("after a restart the key reveals another token")
	}
	g.Stop(t)
	kms.away.Store(true)
	if err := g.TryStart(); err == nil || !strings.Contains(err.Error(), "encrypted by aws-kms") {
		t.Errorf("without the service the start answers %.500v", err)
	}

	g.WriteConfig(t, gatetest.Config{Keystile: "master_key kms gcp-kms://projects/x"}.Text(g))
	wants(t, g.Run(t, "validate", "--config", g.ConfigPath()), 1, "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID")
}

// TestRestoreUnderKMS loses the machine and restores its backup on another one: the keyset is checked as the service opens it,
// under the name of its key, and where it does not, nothing is put in place.
func TestRestoreUnderKMS(t *testing.T) {
	t.Parallel()
	const uri = "aws-kms://" + kmsKey
	kms := newFakeKMS(t)
	lost := newKMSGateway(t, kms)
	lost.Start(t)
	key := lost.Admin.DefaultKey(t, lost.Admin.CreateAccount(t, "Shop", "").ID, "secret", "sandbox")
	backup := filepath.Join(t.TempDir(), "keys.tar")
	wants(t, lost.Run(t, "backup", backup), 0, "wrote")
	wrapped, err := os.ReadFile(kmsPath(lost))
	if err != nil {
		t.Fatal(err)
	}
	other := newKMSGateway(t, kms)
	other.Start(t) // makes a keyset of its own, which the service opens as well
	other.Stop(t)

	g := newKMSGateway(t, kms)
	g.Admin.Remember(key.Token)
	if err := os.MkdirAll(filepath.Dir(g.StorePath()), 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(kmsPath(g), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(code int, args []string, texts ...string) {
		t.Helper()
		wants(t, g.Run(t, append([]string{"restore", backup}, args...)...), code, texts...)
		if _, err := os.Lstat(g.StorePath()); err == nil {
			t.Fatalf("restore %q is refused and has put a store in place", args)
		}
	}
	refused(1, []string{"--check", "--master-key-kms", uri}, "master.kms", "is not there", "nothing was changed")
	refused(1, []string{"--master-key-kms", uri}, "master.kms", "is not there", "nothing was changed")
	refused(1, []string{"--master-key", filepath.Join(t.TempDir(), "master.key")}, "is not there", "nothing was changed")
	wants(t, g.Run(t, "restore", backup, "--check"), 0, "is not there", "does not start without it") // nothing was said of where it is
	theirs, err := os.ReadFile(kmsPath(other))
	if err != nil {
		t.Fatal(err)
	}
	put(theirs)
	refused(1, []string{"--master-key-kms", uri}, "is not the one that the backup's tokens are sealed under", "--master-key-kms")
	put(wrapped)
	refused(2, []string{"--master-key-kms", "gcp-kms://projects/x"}, "aws-kms://arn:aws:kms:REGION:ACCOUNT:key/ID")
	refused(2, []string{"--master-key-kms", uri, "--master-key-env", "X"}, "does not go with")
	refused(1, []string{"--master-key", kmsPath(g)}, "a key management service has encrypted", "nothing was changed")
	refused(1, []string{"--master-key-kms", strings.TrimSuffix(uri, "b") + "c"}, "cannot be told", "nothing was changed") // a key that the service has not
	kms.away.Store(true)
	refused(1, []string{"--master-key-kms", uri}, "cannot be told", "encrypted by "+uri, "nothing was changed")
	kms.away.Store(false)
	wants(t, g.Run(t, "restore", backup, "--check"), 0, "was not looked into: name its key with --master-key-kms")

	elsewhere := filepath.Join(t.TempDir(), "keys.db") // the store may be, the keyset is not
	wants(t, g.Run(t, "restore", backup, "--check", "--store", elsewhere, "--master-key-kms", uri), 0, "whole")
	asked := kms.calls.Load()
	wants(t, g.Run(t, "restore", backup, "--master-key-kms", uri), 0, "restored")
	if kms.calls.Load() == asked {
		t.Error("the service was not asked")
	}
	g.Start(t)
	if again := g.Admin.Reveal(t, key.ID); again.Token != key.Token {
		t.Error("on the other machine the key reveals another token")
	}
	wants(t, g.Run(t, "event", "verify"), 0, "in order")
	wants(t, g.Run(t, "master-key", "rotate"), 0, "nothing is sealed under old keys")
	g.Stop(t)

	// After the rotation the old backup needs the keyset of its time: a copy of it, wherever it is.
	kept := filepath.Join(t.TempDir(), "master.kms")
	if err := os.WriteFile(kept, wrapped, 0o600); err != nil {
		t.Fatal(err)
	}
	wants(t, g.Run(t, "restore", backup, "--check", "--master-key-kms", uri), 1, "is not the one")
	wants(t, g.Run(t, "restore", backup, "--check", "--master-key-kms", uri, "--master-key", kept), 0, "whole")
}

// TestRestoreUnderEnvironment: a keyset in an environment variable is checked as one in a file is.
func TestRestoreUnderEnvironment(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	made := g.Run(t, "store", "new-master-key", "--base64")
	wants(t, made, 0)
	keyset := strings.TrimSpace(made.Stdout)
	g.Admin.Remember(keyset)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.Setenv("KEYSTILE_MASTER_KEY=" + keyset)
	g.WriteConfig(t, gatetest.Config{Keystile: "master_key env KEYSTILE_MASTER_KEY"}.Text(g))
	g.Start(t)
	key := g.Admin.DefaultKey(t, g.Admin.CreateAccount(t, "Shop", "").ID, "secret", "sandbox")
	backup := filepath.Join(g.Dir, "keys.tar")
	wants(t, g.Run(t, "backup", backup), 0, "wrote")
	g.Stop(t)
	before, err := os.ReadFile(g.StorePath())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, g.Run(t, "restore", backup, "--force", "--master-key-env", "KEYSTILE_NOT_SET"), 1, "is not there", "nothing was changed")
	if after, err := os.ReadFile(g.StorePath()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the store that was there is another one after a restore that was refused: %v", err)
	}
	wants(t, g.Run(t, "restore", backup, "--force", "--master-key-env", "KEYSTILE_MASTER_KEY"), 0, "restored")
	g.Start(t)
	if again := g.Admin.Reveal(t, key.ID); again.Token != key.Token {
		t.Error("after the restore the key reveals another token")
	}
	g.Stop(t)
	another := g.Run(t, "store", "new-master-key", "--base64")
	wants(t, another, 0)
	g.Setenv("KEYSTILE_MASTER_KEY=" + strings.TrimSpace(another.Stdout)) // the later one counts
	wants(t, g.Run(t, "restore", backup, "--check", "--master-key-env", "KEYSTILE_MASTER_KEY"), 1, "is not the one")
}
