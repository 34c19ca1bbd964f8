package api

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// A signed-in member is asked for a verification code before a call that makes, shows or replaces a live key with rights, or
// changes from where it may be used; and before one that makes somebody, or something, who could do so unasked. Which calls
// these are stands here and nowhere else. Programs, and whoever has the machine, are not asked.

// guard says whether a call, with its input bound, is one of those.
type guard struct {
	title string // for the message with the code
	needs func(c *call, in any) bool
}

var guards = map[string]guard{
	"create_key": {"create a live key", func(_ *call, in any) bool {
		b := &in.(*createKeyInput).Body
		return powerful(b.Kind, b.Mode)
	}},
	"import_keys": {"import live keys", func(_ *call, in any) bool {
		return slices.ContainsFunc(in.(*importKeysInput).Body.Keys, func(k KeyImport) bool { return powerful(k.Kind, k.Mode) })
	}},
	"import_key_file": {"import a file of keys", func(_ *call, in any) bool { return !in.(*importKeyFileInput).DryRun }},
	"reveal_key":      {"reveal a live key", func(c *call, in any) bool { return c.powerfulKey(in.(*keyInput).ID) }},
	"rotate_key":      {"rotate a live key", func(c *call, in any) bool { return c.powerfulKey(in.(*rotateKeyInput).ID) }},
	"duplicate_key":   {"duplicate a live key", func(c *call, in any) bool { return c.powerfulKey(in.(*duplicateKeyInput).ID) }},
	"schedule_key_rotation": {"schedule rotations of a live key", func(c *call, in any) bool {
		return c.powerfulKey(in.(*scheduleKeyInput).ID)
	}},
	"update_key": {"change the IP ranges of a live key", func(c *call, in any) bool {
		u := in.(*updateKeyInput)
		return u.Body.IPRanges.Set && c.powerfulKey(u.ID)
	}},
	"create_admin_token": {"create an admin token", func(_ *call, in any) bool {
		return auth.Guarded(keystore.Role(in.(*createAdminTokenInput).Body.Role))
	}},
	"invite_member": {"invite a member", func(c *call, in any) bool {
		b := &in.(*inviteMemberInput).Body
		// Who is there and has not come yet is invited again, with all of their grants.
		m, known := c.api.Store.Snapshot().MemberByEmail(b.Email.Value)
		return known && !m.Active || slices.ContainsFunc(b.Grants, guardedGrant)
	}},
	"update_member": {"change a member", func(_ *call, in any) bool {
		b := &in.(*updateMemberInput).Body
		return b.Email.Set || slices.ContainsFunc(b.Grants.Value, guardedGrant)
	}},
	"renew_invitation": {"invite a member again", func(*call, any) bool { return true }},
}

func guardedGrant(g GrantCreate) bool { return auth.Guarded(keystore.Role(g.Role)) }

// powerful says whether a key of this kind and mode can do something to what is real. What cannot be read will be refused.
func powerful(kind, mode string) bool { return mode != "sandbox" && kind != "publishable" }

// powerfulKey is the same of a key that there is.
func (c *call) powerfulKey(id string) bool {
	k, ok := c.api.Store.Snapshot().Key(id)
	return ok && k.Mode != policy.ModeSandbox && k.Kind != policy.KindPublishable
}

// guarded says whether the caller is asked for a code before this call.
func (c *call) guarded(operation string, in any) bool {
	g, ok := guards[operation]
	return ok && c.caller != nil && c.caller.Session != "" && g.needs(c, in)
}

// askFirst refuses a guarded call that comes without a code. Nothing of it has happened, and its Idempotency-Key is free.
func (c *call) askFirst(operation string, in any) error {
	if !c.guarded(operation, in) {
		return nil
	}
	for _, name := range []string{auth.VerificationHeader, auth.VerificationCodeHeader} {
		lines := c.r.Header.Values(name)
		switch {
		case len(lines) > 1 || len(lines) == 1 && len(lines[0]) > 64:
			return badParam(name, "%s is given once, as POST /v1/verifications says", name)
		case len(lines) == 0 || lines[0] == "":
			return newError(http.StatusForbidden, auth.CodeVerificationRequired, name,
				"this needs a verification code: ask for one with POST /v1/verifications, operation %s and the same body, "+
					"then repeat the call with the headers %s and %s", operation, auth.VerificationHeader, auth.VerificationCodeHeader)
		}
	}
	return nil
}

// verified uses the code of a guarded call up. content is what the call says; see contentOf.
func (c *call) verified(operation string, in any, content []byte) error {
	if !c.guarded(operation, in) {
		return nil
	}
	err := c.useCode(operation, content)
	c.unverified = err != nil
	return err
}

// verifiedBody is verified for a call whose content is a JSON body.
func (c *call) verifiedBody(operation string, in any, data []byte) error {
	if !c.guarded(operation, in) {
		return nil
	}
	content, err := contentOf(data)
	if err != nil {
		return err
	}
	return c.verified(operation, in, content)
}

func (c *call) useCode(operation string, content []byte) error {
	s, err := c.ownSession()
	if err != nil {
		return err
	}
	if c.api.Verifier == nil {
		return newError(http.StatusForbidden, auth.CodeVerificationUnavailable, "", "no verification codes can be asked for here") // fail closed
	}
	action := &auth.Action{Operation: operation, Object: c.path["id"], Content: content}
	return c.told(c.api.Verifier.Check(c.ctx, s, action,
		c.r.Header.Get(auth.VerificationHeader), policy.TokenFrom(c.r.Header.Get(auth.VerificationCodeHeader))))
}

// contentOf is what a body says, whatever the order and the blanks in it. The body has been parsed before, and so parses.
func contentOf(data []byte) ([]byte, error) {
	if data == nil {
		return contentOfObject(nil)
	}
	object, err := parseJSON(data)
	if err != nil {
		return nil, err
	}
	return contentOfObject(object)
}

func contentOfObject(object map[string]any) ([]byte, error) {
	if len(object) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(object)
}

// Verification is a code that is awaited.
type Verification struct {
	ID        string    `json:"id" doc:"For the header Keystile-Verification" example:"ver_8DpB666ojJIBrHTw33ZR"`
	Object    string    `json:"object" enum:"verification"`
	Operation string    `json:"operation"`
	Method    string    `json:"method" enum:"email,http,log,totp" doc:"Where the code comes from: an e-mail, the operator's own messages, the process log (in development), or the member's authenticator app"`
	SentTo    *string   `json:"sent_to" doc:"So much of the address that its owner knows it; null: of an authenticator app"`
	ExpiresAt time.Time `json:"expires_at"`
	Tries     int       `json:"tries" doc:"How many codes may be tried"`
}

// VerificationCreate is the body that asks for a code.
type VerificationCreate struct {
	Operation string                   `json:"operation" doc:"The operationId of the call that the code is for, such as create_key"`
	ObjectID  Optional[string]         `json:"object_id,omitzero" maxLength:"64" doc:"What stands as {id} in the call's path"`
	Body      Optional[map[string]any] `json:"body,omitzero" doc:"The call's body: the code is good for this one only"`
	SHA256    Optional[string]         `json:"sha256,omitzero" pattern:"^[0-9a-f]{64}$" doc:"Of import_key_file, in place of the body: the SHA-256 of the file"`
	Method    Optional[string]         `json:"method,omitzero" doc:"totp: the code is one of the authenticator app. Absent: as it is set up"`
}

type createVerificationInput struct {
	Body VerificationCreate
}

func (a *API) registerVerifications() {
	handle(a, operation{
		method: http.MethodPost, path: "/v1/verifications", id: "create_verification", tag: "sessions", summary: "Ask for a verification code",
		description: "Signed-in members need one before calls that answer 403 verification_required. The call is then repeated with the headers " +
			"Keystile-Verification (the id) and Keystile-Verification-Code (six digits), once, with the same body, in the same session, within ten minutes.",
	}, a.createVerification)
}

func (a *API) createVerification(c *call, in *createVerificationInput) (Verification, error) {
	s, err := c.ownSession()
	if err != nil {
		return Verification{}, err
	}
	b := &in.Body
	g, ok := guards[b.Operation]
	if !ok {
		return Verification{}, badParam("operation", "no code is asked for before this call, or there is no such call; it is one of %s", strings.Join(guardedOperations(), ", "))
	}
	if b.Method.Value != "" && b.Method.Value != auth.MethodTOTP {
		return Verification{}, badParam("method", "the method is totp, or absent")
	}
	if err := refuseToken("object_id", b.ObjectID.Value); err != nil {
		return Verification{}, err
	}
	action := &auth.Action{Operation: b.Operation, Object: b.ObjectID.Value, Title: g.title}
	if action.Object != "" {
		action.Title += " (" + printable(action.Object, 64) + ")"
	}
	if b.Operation == "import_key_file" {
		if action.Content, err = hex.DecodeString(b.SHA256.Value); err != nil || len(action.Content) == 0 {
			return Verification{}, badParam("sha256", "give the SHA-256 of the file, 64 hexadecimal digits")
		}
	} else if action.Content, err = contentOfObject(b.Body.Value); err != nil {
		return Verification{}, badParam("body", "the body cannot be read")
	}
	v, err := a.Verifier.Begin(c.ctx, s, action, b.Method.Value)
	if err != nil {
		return Verification{}, c.told(err)
	}
	return Verification{
		ID: v.ID, Object: "verification", Operation: b.Operation, Method: v.Method, SentTo: some(v.SentTo),
		ExpiresAt: *stamp(v.ExpiresAt), Tries: auth.VerificationTries,
	}, nil
}

func guardedOperations() []string {
	names := make([]string, 0, len(guards))
	for name := range guards {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
