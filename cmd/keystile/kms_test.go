package main_test

import (
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

// TestMasterKeyByKMS: the keyset is at rest as the service has encrypted it, no request asks the service, a rotation works as
// with a file, and without the service nothing starts.
func TestMasterKeyByKMS(t *testing.T) {
	t.Parallel()
	kms := newFakeKMS(t)
	g := gatetest.New(t)
	const secret = "the-secret-of-the-aws-credentials"
	g.Admin.Remember(secret)
	for _, pair := range []string{
		"CADDY_ADMIN=" + g.AdminAddr, "AWS_ENDPOINT_URL_KMS=" + kms.URL, "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=" + secret,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1",
	} {
		g.Setenv(pair)
	}
	g.WriteConfig(t, gatetest.Config{Keystile: "master_key kms aws-kms://" + kmsKey}.Text(g))
	wants(t, g.Run(t, "validate", "--config", g.ConfigPath()), 0, "Valid configuration")
	if kms.calls.Load() != 0 {
		t.Error("validate asked the service")
	}
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	key := g.Admin.DefaultKey(t, account, "secret", "sandbox")
	file := filepath.Join(filepath.Dir(g.StorePath()), "master.kms")
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
