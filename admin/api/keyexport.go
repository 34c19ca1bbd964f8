package api

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keystile/keystile/keystore"
)

type exportKeysInput struct {
	Format       string `query:"format" enum:"jsonl,csv" default:"jsonl"`
	Account      string `query:"account" doc:"As in the list"`
	Organization string `query:"organization"`
	Sandbox      string `query:"sandbox"`
	Mode         string `query:"mode" enum:"live,sandbox"`
	Kind         string `query:"kind" enum:"secret,publishable,restricted,organization"`
	Status       string `query:"status" enum:"active,expiring,expired,deleted"`
	Query        string `query:"query" maxLength:"200"`
}

func (a *API) registerKeyExport() {
	stream(a, operation{
		method: http.MethodGet, path: "/v1/keys/export", id: "export_keys", tag: "keys", summary: "Export keys", media: exportMedia,
		description: "What is known of keys, newest first, all of one moment, with the filters of the list. Never a token, publishable ones included. Tables in CSV hold no formulas.",
	}, a.exportKeys)
}

var exportKeyHead = []string{
	"id", "kind", "mode", "status", "account", "organization", "sandbox", "name", "note", "token_masked", "permissions",
	"connected_permissions", "ip_ranges", "allowed_origins", "created_at", "created_by", "expires_at", "last_used_at", "last_used_ip",
	"predecessor", "successor", "revealable", "metadata",
}

// After how many keys, and after how long, it is asked again whether the caller's credential is still good: a slow reader must not
// have a thousand keys more of it.
const (
	exportRecheck      = 1000
	exportRecheckAfter = time.Second
)

func (a *API) exportKeys(c *call, in *exportKeysInput) error {
	filter, err := c.keyFilter(&listKeysInput{
		Account: in.Account, Organization: in.Organization, Sandbox: in.Sandbox, Mode: in.Mode, Kind: in.Kind, Status: in.Status, Query: in.Query,
	})
	if err != nil {
		return err
	}
	next, err := a.Store.Snapshot().EachKey(filter, c.now)
	if err != nil {
		return err
	}
	out, err := c.export(in.Format, "keys", exportKeyHead)
	if c.r.Method == http.MethodHead {
		return out.end(err)
	}
	asked := c.now
	for k, n := next(), 1; k != nil && err == nil; k, n = next(), n+1 {
		if now := a.Now(); n%exportRecheck == 0 || now.Sub(asked).Abs() >= exportRecheckAfter {
			if !c.caller.Still() {
				err = newError(http.StatusUnauthorized, codeUnauthenticated, "", "the credential of this export is not good any more")
				break
			}
			asked = now
		}
		row := c.viewKey(k)
		row.Token = "" // publishable ones, too: an export goes to places that a list does not
		if err = c.ctx.Err(); err == nil {
			err = out.row(func() []byte { return bytes.TrimSuffix(marshal(row), []byte("\n")) }, func() []string { return keyCells(&row) })
		}
	}
	return out.end(err)
}

// keyCells is a key as cells of CSV, in the spelling that an import takes.
func keyCells(k *Key) []string {
	return []string{
		k.ID, k.Kind, k.Mode, k.Status, text(k.Account), text(k.Organization), text(k.Sandbox), k.Name, k.Note, k.TokenMasked,
		permissionCell(k.Permissions), permissionCell(k.ConnectedPermissions), strings.Join(k.IPRanges, " "), strings.Join(k.AllowedOrigins, " "),
		timeCell(&k.CreatedAt), k.CreatedBy, timeCell(k.ExpiresAt), timeCell(k.LastUsedAt), text(k.LastUsedIP),
		text(k.Rotation.Predecessor), text(k.Rotation.Successor), strconv.FormatBool(k.Revealable), jsonCell(k.Metadata),
	}
}

// permissionCell is a set of permissions: "" is unrestricted, none is none.
func permissionCell(m map[string]string) string {
	if m != nil && len(m) == 0 {
		return "none"
	}
	return jsonCell(m)
}

func timeCell(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// keyFilter is the store's form of the filters, and of what the caller may see.
func (c *call) keyFilter(in *listKeysInput) (keystore.KeyFilter, error) {
	filter := keystore.KeyFilter{
		Account: in.Account, Organization: in.Organization, Sandbox: in.Sandbox, Status: keystore.Status(in.Status), Query: in.Query,
	}
	var err error
	if filter.Mode, err = optionalMode(in.Mode); err != nil {
		return filter, err
	}
	if filter.Kind, err = optionalKind(in.Kind); err != nil {
		return filter, err
	}
	if c.caller.Limited() {
		filter.Within = c.coversKey
		if filter.Account == "" && filter.Organization == "" {
			filter.Account = c.caller.Account // less to pass over
		}
	}
	return filter, nil
}
