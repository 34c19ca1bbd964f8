package dashboard

import (
	"sync"
	"time"

	"github.com/keystile/keystile/policy"
)

// The bounds of what reveals keeps.
const (
	revealsTime = time.Hour
	revealsMost = 256
)

// reveals keeps the sandbox keys that the home page shows in its examples, for an hour and for who was shown them, so that the
// audit trail tells once that somebody was shown a key and not each time that they look at the page. It never holds a live
// key. Who asks has made sure that the key is still one, and that the viewer may see it.
type reveals struct {
	mu     sync.Mutex
	tokens map[[2]string]keptToken // by viewer and key
}

type keptToken struct {
	token policy.Token
	until time.Time
}

func newReveals() *reveals { return &reveals{tokens: map[[2]string]keptToken{}} }

// token is the key's token as it is kept, or as reveal answers it.
func (s *reveals) token(viewer, key string, now time.Time, reveal func() (string, error)) (string, error) {
	at := [2]string{viewer, key}
	s.mu.Lock()
	kept, ok := s.tokens[at]
	s.mu.Unlock()
	if ok && now.Before(kept.until) {
		return kept.token.Reveal(), nil
	}
	token, err := reveal()
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens) >= revealsMost {
		clear(s.tokens)
	}
	s.tokens[at] = keptToken{token: policy.TokenFrom(token), until: now.Add(revealsTime)}
	return token, nil
}
