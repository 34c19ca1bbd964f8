package api_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
)

// codeBox takes the codes that are sent.
type codeBox struct {
	mu    sync.Mutex
	sent  []*auth.CodeMessage
	fails bool
}

func (*codeBox) Method() string { return "email" }

func (b *codeBox) SendCode(_ context.Context, m *auth.CodeMessage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails {
		return errors.New("no")
	}
	b.sent = append(b.sent, m)
	return nil
}

func (b *codeBox) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent[len(b.sent)-1].Code.Reveal()
}

// verify asks for a code and answers the headers of the call that it is for.
func (f *memberFixture) verify(cookie, operation, object string, body any) []string {
	f.t.Helper()
	ask := map[string]any{"operation": operation}
	if object != "" {
		ask["object_id"] = object
	}
	if body != nil {
		ask["body"] = body
	}
	v := as[api.Verification](f.ok("POST", "/v1/verifications", ask, "Cookie", cookie))
	return []string{"Cookie", cookie, auth.VerificationHeader, v.ID, auth.VerificationCodeHeader, f.codes.last()}
}

// TestVerifiedCalls: each call that makes, shows or replaces a live key asks a member for a code, and nobody else; with the
// code it happens, once. The same of a sandbox key happens at once.
func TestVerifiedCalls(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	account := f.account("A")
	live := map[string]any{"kind": "restricted", "mode": "live", "account": account.ID, "name": "x"}
	key := func(mode string) string {
		t.Helper()
		return f.key(map[string]any{"kind": "restricted", "mode": mode, "account": account.ID, "name": "x"}).ID
	}
	defaultKey := func() string {
		t.Helper()
		for _, k := range as[api.List[api.Key]](f.ok("GET", "/v1/keys?limit=100&mode=live&kind=secret&account="+f.account("B").ID, nil)).Data {
			return k.ID
		}
		t.Fatal("no default key")
		return ""
	}
	row := func(mode, token string) map[string]any {
		return map[string]any{"keys": []any{map[string]any{"kind": "secret", "mode": mode, "account": account.ID, "token": token}}}
	}
	type calls struct {
		operation, method, path, object string
		body                            any
	}
	rangesBody := map[string]any{"ip_ranges": "203.0.113.0/24"}
	guarded := []func() calls{
		func() calls { return calls{"create_key", "POST", "/v1/keys", "", live} },
		func() calls { return calls{"import_keys", "POST", "/v1/keys/import", "", row("live", "legacy-1")} },
		func() calls {
			id := defaultKey()
			return calls{"reveal_key", "POST", "/v1/keys/" + id + "/reveal", id, nil}
		},
		func() calls {
			id := key("live")
			return calls{"rotate_key", "POST", "/v1/keys/" + id + "/rotate", id, map[string]any{}}
		},
		func() calls {
			id := key("live")
			return calls{"duplicate_key", "POST", "/v1/keys/" + id + "/duplicate", id, nil}
		},
		func() calls {
			id := key("live")
			return calls{"schedule_key_rotation", "PUT", "/v1/keys/" + id + "/rotation_schedule", id, map[string]any{"at": f.clock().Add(time.Hour)}}
		},
		func() calls { id := key("live"); return calls{"update_key", "PATCH", "/v1/keys/" + id, id, rangesBody} },
		func() calls {
			return calls{"create_admin_token", "POST", "/v1/admin_tokens", "", map[string]any{"name": "x", "role": "developer"}}
		},
		func() calls {
			return calls{"invite_member", "POST", "/v1/members", "", map[string]any{"email": "new@example.com", "grants": []any{map[string]any{"role": "developer"}}}}
		},
		func() calls {
			m, _ := f.invite(map[string]any{"email": "again@example.com", "grants": []any{map[string]any{"role": "viewer"}}})
			return calls{"renew_invitation", "POST", "/v1/members/" + m.ID + "/invitation", m.ID, nil}
		},
		func() calls {
			m, _ := f.invite(map[string]any{"email": "changed@example.com", "grants": []any{map[string]any{"role": "viewer"}}})
			return calls{"update_member", "PATCH", "/v1/members/" + m.ID, m.ID, map[string]any{"email": "mine@example.com"}}
		},
	}
	seen := map[string]bool{"import_key_file": true} // has a test of its own
	for _, make := range guarded {
		c := make()
		seen[c.operation] = true
		before := f.store.Snapshot().Revision()
		var body = c.body
		if body == nil {
			body = "{}"
		}
		f.do(c.method, c.path, body, "Cookie", cookie).fails(403, "verification_required", auth.VerificationHeader)
		if f.store.Snapshot().Revision() != before {
			t.Errorf("%s: changed something before it was verified", c.operation)
		}
		with := f.verify(cookie, c.operation, c.object, c.body)
		f.ok(c.method, c.path, body, with...)
		if a := f.do(c.method, c.path, body, with...); a.status == 200 {
			t.Errorf("%s: the code works twice: %s", c.operation, a.body)
		}
		f.advance(20 * time.Minute) // not too many codes at once
	}
	for _, operation := range strings.Split("create_key,import_keys,import_key_file,reveal_key,rotate_key,duplicate_key,schedule_key_rotation,update_key,create_admin_token,invite_member,update_member,renew_invitation", ",") {
		if !seen[operation] {
			t.Errorf("%s is not tried here", operation)
		}
	}
	with := []string{"Cookie", cookie}
	sandbox := key("sandbox")
	f.ok("POST", "/v1/keys", map[string]any{"kind": "secret", "mode": "sandbox", "account": account.ID}, with...)
	f.ok("POST", "/v1/keys/"+sandbox+"/reveal", "{}", with...)
	f.ok("POST", "/v1/keys/"+sandbox+"/rotate", "{}", with...)
	f.ok("PATCH", "/v1/keys/"+key("live"), map[string]any{"note": "n"}, with...)
	f.ok("PATCH", "/v1/keys/"+key("sandbox"), rangesBody, with...)
	f.ok("POST", "/v1/keys/import", row("sandbox", "legacy-2"), with...)
	f.ok("POST", "/v1/admin_tokens", map[string]any{"name": "x", "role": "viewer"}, with...)
	f.ok("POST", "/v1/members", map[string]any{"email": "v@example.com", "grants": []any{map[string]any{"role": "viewer"}}}, with...)
}

// TestVerificationBound: a code is good for its call, its body and its session only, for ten minutes, and for five tries.
func TestVerificationBound(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	other := cookieOf(f.ok("POST", "/v1/session", map[string]any{"email": "jenny@example.com", "password": testPassword}))
	account := f.account("A")
	body := map[string]any{"kind": "secret", "mode": "live", "account": account.ID}
	f.do("POST", "/v1/verifications", map[string]any{"operation": "list_keys"}, "Cookie", cookie).fails(400, "parameter_invalid", "operation")
	f.do("POST", "/v1/verifications", map[string]any{"operation": "create_key"}).fails(403, "session_required", "")

	with := f.verify(cookie, "create_key", "", body)
	elsewhere := append([]string{"Cookie", other}, with[2:]...)
	f.do("POST", "/v1/keys", body, elsewhere...).fails(403, "verification_invalid", "")
	f.do("POST", "/v1/keys", map[string]any{"kind": "secret", "mode": "live", "account": account.ID, "name": "y"}, with...).fails(403, "verification_mismatch", "")
	f.do("POST", "/v1/keys/import", map[string]any{"keys": []any{map[string]any{"kind": "secret", "mode": "live", "account": account.ID, "token": "x"}}}, with...).
		fails(403, "verification_mismatch", "")
	// the meaning counts, not the spelling
	f.ok("POST", "/v1/keys", `{ "account":"`+account.ID+`", "mode" : "live","kind":"secret"}`, with...)

	with = f.verify(cookie, "create_key", "", body)
	f.advance(auth.VerificationLifetime)
	f.do("POST", "/v1/keys", body, with...).fails(403, "verification_invalid", "")

	with = f.verify(cookie, "create_key", "", body)
	wrong := append(append([]string{}, with[:5]...), wrongDigits(with[5]))
	for range auth.VerificationTries {
		f.do("POST", "/v1/keys", body, append(wrong, "Idempotency-Key", "k")...).fails(403, "verification_code_invalid", "")
	}
	f.do("POST", "/v1/keys", body, with...).fails(403, "verification_invalid", "")
	trail, err := f.store.Events(t.Context(), &keystore.EventFilter{Type: string(keystore.EventMemberVerificationFailed)}, keystore.Page{Limit: 10})
	if err != nil || len(trail.Events) != 1 {
		t.Errorf("events of the failure: %v, %v", trail, err)
	}

	// a wrong code does not use an Idempotency-Key up, and an answer that was kept needs no second code
	f.advance(time.Hour)
	with = f.verify(cookie, "create_key", "", body)
	with = append(with, "Idempotency-Key", "k2")
	wrong = append(append([]string{}, with[:5]...), wrongDigits(with[5]), "Idempotency-Key", "k2")
	f.do("POST", "/v1/keys", body, wrong...).fails(403, "verification_code_invalid", "")
	made := f.ok("POST", "/v1/keys", body, with...)
	again := f.ok("POST", "/v1/keys", body, with...)
	if string(made.body) != string(again.body) || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("the kept answer: %s", again.body)
	}
	elsewhere = append([]string{"Cookie", other}, with[2:]...)
	if a := f.do("POST", "/v1/keys", body, elsewhere...); a.status == 200 {
		t.Errorf("the kept answer was given to another session")
	}

	f.advance(time.Hour)
	codes := map[string]bool{}
	for range 20 {
		f.verify(cookie, "create_key", "", body)
		codes[f.codes.last()] = true
	}
	if len(codes) < 15 {
		t.Errorf("codes repeat: %v", codes)
	}
	f.do("POST", "/v1/verifications", map[string]any{"operation": "create_key"}, "Cookie", cookie).fails(429, "rate_limit", "")
	f.advance(time.Hour)
	f.codes.fails = true
	f.do("POST", "/v1/verifications", map[string]any{"operation": "create_key"}, "Cookie", cookie).fails(503, "verification_not_sent", "")
}

// TestVerificationGuesses: however many codes somebody asks for, they guess 150 times in a day and no more, also where the last
// guess would be right; nobody else is held up.
func TestVerificationGuesses(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	body := map[string]any{"kind": "secret", "mode": "live", "account": f.account("A").ID}
	for tries := 0; tries < 150; {
		with := f.verify(cookie, "create_key", "", body)
		with[len(with)-1] = wrongDigits(with[len(with)-1])
		for range 5 {
			f.do("POST", "/v1/keys", body, with...).fails(403, "verification_code_invalid", "")
			tries++
		}
		if tries%100 == 0 {
			f.advance(time.Hour) // no more than twenty are sent at once
		}
	}
	with := f.verify(cookie, "create_key", "", body)
	f.do("POST", "/v1/keys", body, with...).fails(429, "rate_limit", "")
	_, cookie = f.member("kate@example.com", owner())
	f.ok("POST", "/v1/keys", body, f.verify(cookie, "create_key", "", body)...)
}

// TestVerificationRace: of many who show the right code at the same time, one gets through.
func TestVerificationRace(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	body := map[string]any{"kind": "secret", "mode": "live", "account": f.account("A").ID}
	with := f.verify(cookie, "create_key", "", body)
	var wait sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 20 {
		wait.Go(func() {
			if a := f.do("POST", "/v1/keys", body, with...); a.status == 200 {
				mu.Lock()
				made++
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if made != 1 {
		t.Errorf("%d keys were made with one code", made)
	}
}

// TestVerificationByApp: without a sender, and by choice with one, the code is the authenticator app's.
func TestVerificationByApp(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t, func(c *api.Config) { c.Verifier = auth.NewVerifier(c.Sessions, nil) })
	_, cookie := f.member("jenny@example.com", owner())
	body := map[string]any{"kind": "secret", "mode": "live", "account": f.account("A").ID}
	ask := map[string]any{"operation": "create_key", "body": body}
	f.do("POST", "/v1/verifications", ask, "Cookie", cookie).fails(403, "verification_unavailable", "")
	app := as[api.AppSecret](f.ok("POST", "/v1/session/totp", map[string]any{"current_password": testPassword}, "Cookie", cookie))
	code := func() string {
		t.Helper()
		text, err := totp.GenerateCode(string(app.Secret), f.clock())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	f.ok("POST", "/v1/session/totp/confirm", map[string]any{"code": code()}, "Cookie", cookie)
	f.advance(2 * time.Minute)
	v := as[api.Verification](f.ok("POST", "/v1/verifications", ask, "Cookie", cookie))
	if v.Method != "totp" || v.SentTo != nil {
		t.Errorf("asked for %+v", v)
	}
	with := []string{"Cookie", cookie, auth.VerificationHeader, v.ID, auth.VerificationCodeHeader}
	f.do("POST", "/v1/keys", body, append(with, wrongDigits(code()))...).fails(403, "verification_code_invalid", "")
	used := code()
	f.ok("POST", "/v1/keys", body, append(with, used)...)
	v = as[api.Verification](f.ok("POST", "/v1/verifications", ask, "Cookie", cookie))
	with[3] = v.ID
	f.do("POST", "/v1/keys", body, append(with, used)...).fails(403, "verification_code_invalid", "") // one code, one action
}

// TestVerifiedKeyFile: the code for a file of keys is good for that file.
func TestVerifiedKeyFile(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	file := `{"kind":"secret","mode":"live","account":"` + f.account("A").ID + `","token":"legacy-9"}` + "\n"
	media := []string{"Content-Type", "application/x-ndjson", "Cookie", cookie}
	f.do("POST", "/v1/key_imports", file, media...).fails(403, "verification_required", auth.VerificationHeader)
	f.ok("POST", "/v1/key_imports?dry_run=true", file, media...)
	sum := sha256.Sum256([]byte(file))
	v := as[api.Verification](f.ok("POST", "/v1/verifications", map[string]any{"operation": "import_key_file", "sha256": hex.EncodeToString(sum[:])}, "Cookie", cookie))
	with := append(media, auth.VerificationHeader, v.ID, auth.VerificationCodeHeader, f.codes.last())
	f.do("POST", "/v1/key_imports", strings.ReplaceAll(file, "legacy-9", "legacy-8"), with...).fails(403, "verification_mismatch", "")
	f.ok("POST", "/v1/key_imports", file, with...)
}

// TestVerifiedNull: a body may have null in it, as the one that lifts all IP restrictions has, and so may the question for
// its code.
func TestVerifiedNull(t *testing.T) {
	t.Parallel()
	f := newMemberFixture(t)
	_, cookie := f.member("jenny@example.com", owner())
	id := f.key(map[string]any{"kind": "restricted", "mode": "live", "account": f.account("A").ID, "name": "x", "ip_ranges": []string{"203.0.113.7"}}).ID
	lift := map[string]any{"ip_ranges": nil}
	headers := f.verify(cookie, "update_key", id, lift)
	f.ok("PATCH", "/v1/keys/"+id, lift, headers...).has("ip_ranges", "null")
}
