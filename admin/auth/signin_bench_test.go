package auth_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
	"github.com/keystile/keystile/policy"
)

// BenchmarkSignIn is a wrong password for a member who is there, and for one who is not: the same work.
func BenchmarkSignIn(b *testing.B) {
	now := time.Now()
	store := keystoretest.NewStore(b, keystore.Options{})
	sessions, err := auth.NewSessions(store, func() time.Time { now = now.Add(time.Hour); return now }, zap.NewNop()) // nobody is locked out
	if err != nil {
		b.Fatal(err)
	}
	_, token, err := store.InviteMember(b.Context(), keystore.Actor{Kind: "system"}, keystore.MemberParams{
		Email: "jenny@example.com", Grants: []keystore.Grant{{Role: keystore.RoleOwner}},
	}, 1000*time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/session", nil)
	if _, _, err := sessions.Accept(r, auth.Accept{Invitation: token, Name: "Jenny", Password: policy.TokenFrom("correct horse battery")}); err != nil {
		b.Fatal(err)
	}
	for _, who := range []string{"jenny@example.com", "nobody@example.com"} {
		b.Run(who, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := sessions.SignIn(r, auth.SignIn{Email: who, Password: policy.TokenFrom("wrong password")}); err == nil {
					b.Fatal("signed in")
				}
			}
		})
	}
}
