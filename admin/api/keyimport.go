package api

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

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
	op := operation{
		method: http.MethodPost, path: "/v1/keys/import", id: "import_keys", tag: "keys", summary: "Import keys", status: http.StatusOK,
		errors: []int{http.StatusNotFound},
		description: "All or nothing. An error names the position in param, such as keys[3].kind, and errors lists every row at fault, up to 100. " +
			"The answer has the keys in the order given, without their tokens.",
	}
	b := a.newOperation(op, reflect.TypeFor[importKeysInput](), reflect.TypeFor[List[Key]]())
	frame, row := looseRows(resolve(a.registry, b.schema), "keys"), a.registry.Schema(reflect.TypeFor[KeyImport](), true, "")
	query := newBinder(a.registry, reflect.TypeFor[struct{}](), nil)
	a.router.add(op.method, op.path, func(c *call) {
		data, rows, err := a.importRows(c, op.id, query, frame)
		if err != nil {
			c.fail(err)
			return
		}
		in, bodies, err := a.readImport(rows, row)
		if err == nil {
			err = c.askFirst(op.id, in)
		}
		if err != nil {
			c.fail(err)
			return
		}
		c.once(data, func() (answer, error) {
			if err := c.verifiedBody(op.id, in, data); err != nil {
				return answer{}, err
			}
			out, err := a.importKeys(c, bodies)
			if err != nil {
				return answer{}, err
			}
			return answer{status: op.status, body: marshal(out)}, nil
		})
	})
}

// looseRows is a body's schema with rows of anything: each row is judged by itself, so that all that is wrong is listed.
func looseRows(schema *huma.Schema, name string) *huma.Schema {
	loose, list := *schema, *schema.Properties[name]
	list.Items = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Nullable: true}}
	list.Items.PrecomputeMessages()
	loose.Properties = map[string]*huma.Schema{name: &list}
	return &loose
}

// importRows lets the call in and reads its body, and the rows of it as they stand there.
func (a *API) importRows(c *call, operation string, query *binder, frame *huma.Schema) (data []byte, rows []json.RawMessage, err error) {
	if err := c.enter(operation); err != nil {
		return nil, nil, err
	}
	if data, err = c.readBody(); err != nil {
		return nil, nil, err
	}
	if err := query.bind(c, new(struct{}), nil); err != nil {
		return nil, nil, err
	}
	var body struct{ Keys []json.RawMessage }
	err = decodeBody(a.registry, frame, data, &body)
	return data, body.Keys, err
}

// importedRow is one row of an import, or why it cannot be read.
type importedRow struct {
	KeyImport
	wrong error
}

// readImport reads the rows. in has those that can be read: with another among them nothing is imported at all.
func (a *API) readImport(bodies []json.RawMessage, schema *huma.Schema) (in *importKeysInput, rows []importedRow, err error) {
	in = new(importKeysInput)
	rows = make([]importedRow, len(bodies))
	for i, body := range bodies {
		row := &rows[i]
		if row.wrong = decodeBody(a.registry, schema, body, &row.KeyImport); row.wrong != nil {
			if _, cause := asError(row.wrong); cause != nil {
				return nil, nil, row.wrong
			}
			continue
		}
		in.Body.Keys = append(in.Body.Keys, row.KeyImport)
	}
	return in, rows, nil
}

func (a *API) importKeys(c *call, bodies []importedRow) (List[Key], error) {
	rows := make([]keystore.ImportParams, len(bodies))
	for i := range bodies {
		err := bodies[i].wrong
		if err == nil {
			rows[i], err = c.importParams(&bodies[i].KeyImport)
		}
		if err == nil {
			continue
		}
		own, cause := asError(err)
		if cause != nil {
			return List[Key]{}, err
		}
		rows[i].Wrong = &keystore.Error{Code: keystore.Code(own.Code), Param: own.Param, Message: own.Message}
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
