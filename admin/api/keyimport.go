package api

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// KeyImport is one key that was made elsewhere: its token in any spelling, or the token's digest.
type KeyImport struct {
	Token  Optional[string] `json:"token,omitzero" writeOnly:"true" doc:"The token, 1 to 512 visible ASCII characters. It is digested and not kept"`
	SHA256 Optional[string] `json:"sha256,omitzero" doc:"Instead of the token: its SHA-256, 64 hexadecimal digits"`
	Last4  Optional[string] `json:"last4,omitzero" doc:"With sha256: the token's last four characters, for its mask"`
	KeyCreate
}

// KeyImports is the body that imports keys.
type KeyImports struct {
	Keys []KeyImport `json:"keys" minItems:"1" nullable:"false" doc:"All of them are imported or none"`
}

type importKeysInput struct {
	Body KeyImports
}

func (a *API) registerImport() {
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys/import", id: "import_keys", tag: "keys", summary: "Import keys",
		errors:      []int{http.StatusNotFound},
		description: "All or nothing. An error names the position in param, such as keys[3].kind. The answer has the keys in the order given, without their tokens.",
	}, a.importKeys)
}

func (a *API) importKeys(c *call, in *importKeysInput) (List[Key], error) {
	rows := make([]keystore.ImportParams, 0, len(in.Body.Keys))
	var wrong *Error
	for i := range in.Body.Keys {
		row, err := c.importParams(&in.Body.Keys[i])
		if err != nil {
			if wrong, err = addRow(wrong, err, i); err != nil {
				return List[Key]{}, err
			}
			continue
		}
		rows = append(rows, row)
	}
	if wrong != nil {
		return List[Key]{}, wrong
	}
	ctx, cancel := c.commit()
	defer cancel()
	keys, err := a.Store.ImportKeys(ctx, c.actor, rows)
	if err != nil {
		return List[Key]{}, err
	}
	return listOf(keys, false, c.viewKey), nil
}

func (c *call) importParams(b *KeyImport) (keystore.ImportParams, error) {
	if err := c.coversOwner(b.Account.Value, b.Organization.Value); err != nil {
		return keystore.ImportParams{}, err
	}
	params, err := c.api.keyParams(&b.KeyCreate)
	if err != nil {
		return keystore.ImportParams{}, err
	}
	row := keystore.ImportParams{KeyParams: params, Last4: b.Last4.Value}
	switch token, digest := b.Token.Value, b.SHA256.Value; {
	case (token == "") == (digest == ""):
		return row, newError(http.StatusBadRequest, codeParameterMissing, "token", "give either token or sha256")
	case token != "":
		if row.Last4 != "" {
			return row, badParam("last4", "last4 goes with sha256; with token it is known")
		}
		row.Token = policy.TokenFrom(token)
	default:
		sum, err := hex.DecodeString(digest)
		if err != nil || copy(row.Digest[:], sum) != len(sum) || len(sum) != len(row.Digest) {
			return row, badParam("sha256", "sha256 must be 64 hexadecimal digits")
		}
	}
	return row, nil
}

// maxRowErrors bounds how many rows at fault an answer lists.
const maxRowErrors = 100

// addRow adds the error of row i to the answer's error. Only errors that a caller can do something about are listed; any
// other ends the import.
func addRow(all *Error, err error, i int) (*Error, error) {
	var own *Error
	if !errors.As(err, &own) {
		return nil, err
	}
	row := RowError{Param: fmt.Sprintf("keys[%d]", i), Code: own.Code, Message: own.Message}
	if own.Param != "" {
		row.Param += "." + own.Param
	}
	if all == nil {
		first := *own
		first.Param = row.Param
		all = &first
	}
	if len(all.Errors) < maxRowErrors {
		all.Errors = append(all.Errors, row)
	}
	return all, nil
}
