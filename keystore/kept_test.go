package keystore_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
)

// TestSecretsHaveRoom: who fills the room for saved answers keeps nobody from getting a verification code.
func TestSecretsHaveRoom(t *testing.T) {
	t.Parallel()
	s, _, c := newStore(t)
	var err error
	for i := 0; err == nil && i < 1_000_000; i++ {
		err = s.SaveAnswer(t.Context(), &keystore.Answer{Caller: "viewer", Key: strconv.Itoa(i), Expires: c.now().Add(time.Hour), Body: []byte("x")})
	}
	if !errors.Is(err, keystore.ErrAnswersFull) {
		t.Fatalf("the room for answers has no end: %v", err)
	}
	if err := s.KeepSecret(t.Context(), "a verification", c.now().Add(time.Hour), []byte("code")); err != nil {
		t.Errorf("keeping a secret: %v", err)
	}
}
