package keystore

import (
	"fmt"
	"io"

	"github.com/keystile/keystile/policy"
)

// tokenMaker makes tokens. It belongs to the writer.
type tokenMaker struct{ rand io.Reader }

func (m *tokenMaker) next(kind policy.Kind, mode policy.Mode) (policy.Token, error) {
	token, err := policy.GenerateToken(m.rand, kind, mode)
	if err != nil {
		return policy.Token{}, fmt.Errorf("making a token: %w", err)
	}
	return token, nil
}
