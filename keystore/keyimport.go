package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keystile/keystile/policy"
)

// ImportError lists what is wrong with the rows of an import. Its errors name their rows: "keys[3].token".
type ImportError struct {
	Rows []*Error
	More bool // there are further errors, which are not listed
}

// Error is the first error, and how many more there are.
func (e *ImportError) Error() string {
	switch {
	case e.More:
		return fmt.Sprintf("%v (and more than %d further errors)", e.Rows[0], len(e.Rows)-1)
	case len(e.Rows) > 1:
		return fmt.Sprintf("%v (and %d further errors)", e.Rows[0], len(e.Rows)-1)
	}
	return e.Rows[0].Error()
}

// Unwrap gives the errors of the rows.
func (e *ImportError) Unwrap() []error {
	list := make([]error, len(e.Rows))
	for i, row := range e.Rows {
		list[i] = row
	}
	return list
}

// ImportKeys takes over keys that were made elsewhere, all or none, in one commit. If rows are wrong, the error is an
// [*ImportError]. Tokens may have any spelling; they are not kept, except those of publishable keys.
func (s *Store) ImportKeys(ctx context.Context, by Actor, rows []ImportParams) ([]*Key, error) {
	switch {
	case len(rows) == 0:
		return nil, missing("keys", "there are no keys to import")
	case len(rows) > MaxImport:
		return nil, invalid("keys", "there are %d keys; import at most %d at a time", len(rows), MaxImport)
	}
	var made []*Key
	err := s.write(ctx, by, func(c *change) error {
		made = make([]*Key, 0, len(rows))
		bad := new(ImportError)
		seen := make(map[policy.Digest]int, len(rows))
		for i := range rows {
			k, err := c.importKey(fmt.Sprintf("keys[%d]", i), i, &rows[i], seen)
			if err != nil {
				row, ok := errors.AsType[*Error](err)
				if !ok {
					return err
				}
				if len(bad.Rows) == maxImportedErrors {
					bad.More = true
					break
				}
				bad.Rows = append(bad.Rows, row)
				continue
			}
			made = append(made, k)
		}
		if len(bad.Rows) > 0 {
			return bad
		}
		return nil
	})
	return result(made, err)
}

func (c *change) importKey(at string, row int, p *ImportParams, seen map[policy.Digest]int) (*Key, error) {
	if p.Wrong != nil {
		wrong := *p.Wrong
		if wrong.Param = at; p.Wrong.Param != "" {
			wrong.Param += "." + p.Wrong.Param
		}
		return nil, &wrong
	}
	at += "."
	k, err := c.importedKey(at, p, func(digest policy.Digest, field string) error {
		if first, twice := seen[digest]; twice {
			return conflict(at+field, "the same token stands in keys[%d] already", first)
		}
		seen[digest] = row
		return nil
	})
	if err != nil {
		return nil, err
	}
	if k.ID, err = c.newID(prefixKey); err != nil {
		return nil, err
	}
	if err := c.putNewKey(k); err != nil {
		return nil, err
	}
	return k, c.keyEvent(EventKeyImported, nil, k)
}

// importedKey checks one key of an import and makes it, without an id. unique refuses what stands in the import twice.
func (c *change) importedKey(at string, p *ImportParams, unique func(d policy.Digest, field string) error) (*Key, error) {
	digest, mask, field, err := importedToken(at, p)
	if err != nil {
		return nil, err
	}
	if err := unique(digest, field); err != nil {
		return nil, err
	}
	if _, taken := c.keyView().byDigest(&digest); taken {
		return nil, conflict(at+field, "another key has this token already")
	}
	k, err := c.checkedKey(at, &p.KeyParams)
	if err != nil {
		return nil, err
	}
	k.Imported, k.Digest, k.Mask = true, digest, mask
	if k.Kind == policy.KindPublishable {
		switch {
		case p.Token.IsZero():
			return nil, missing(at+"token", "a publishable key is imported by its token, since it can be shown at any time")
		case !k.ExpiresAt.IsZero():
			return nil, invalid(at+"expires_at", "a publishable key does not expire; rotate it")
		}
		k.PublicToken = p.Token.Reveal()
	}
	return k, nil
}

// importedToken is what is kept of an imported token, and the name of the field that gave it.
func importedToken(at string, p *ImportParams) (digest policy.Digest, mask, field string, err error) {
	switch {
	case !p.Token.IsZero() && p.Digest != policy.Digest{}:
		return digest, "", "", invalid(at+"sha256", "give the token or its SHA-256, not both")
	case p.Token.IsZero() && p.Digest == policy.Digest{}:
		return digest, "", "", missing(at+"token", "give the token, or its SHA-256 as sha256")
	case p.Token.IsZero():
		if len(p.Last4) > 4 || !isBase62(p.Last4) {
			return digest, "", "", invalid(at+"last4", "give the token's last four characters, letters and digits only")
		}
		return p.Digest, "****" + p.Last4, "sha256", nil
	}
	kind, mode, class := policy.ParseToken(p.Token.Reveal())
	switch {
	case class == policy.TokenInvalid:
		return digest, "", "", invalid(at+"token", "a token has 1 to 512 visible ASCII characters")
	case strings.IndexByte(p.Token.Reveal(), ',') >= 0:
		// The gateway refuses a credential with a comma as a list of several: this key would never work.
		return digest, "", "", invalid(at+"token", "a token with a comma cannot be presented: in a header a comma separates several values; make a new key instead")
	case mode != 0 && p.Mode != 0 && mode != p.Mode:
		return digest, "", "", invalid(at+"mode", "the token's prefix says %s", mode)
	case kind != 0 && p.Kind != 0 && (kind == policy.KindPublishable) != (p.Kind == policy.KindPublishable):
		// A secret token taken for a publishable one would be kept, and shown, in clear.
		return digest, "", "", invalid(at+"kind", "the token's prefix says %s", kind)
	}
	return p.Token.Digest(), p.Token.Mask(), "token", nil
}
