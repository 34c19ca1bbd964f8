package pgstore_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/pgstore"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
	"github.com/keystile/keystile/policy"
)

var update = flag.Bool("update", false, "write the store of this version anew, as an earlier version for those to come")

// The files of a store as version 1 of the tables held it: rows, what they say, and its master key, which opens nothing else.
const (
	oldRows   = "testdata/v1.sql"
	oldText   = "testdata/v1.txt"
	oldMaster = "testdata/v1.master.json"
)

// dumped are the tables of version 1 whose rows are kept, in an order in which they can be filled.
var dumped = []string{"keystile_head", "keystile_rows", "keystile_events", "keystile_usage", "keystile_meta", "keystile_kept"}

// TestUpgrade opens a store that an earlier version has written: everything is there, sealed tokens open, the chain of events is
// whole, and it can be changed.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	if *update {
		writeOldStore(t)
	}
	rows, want, master := read(t, oldRows), read(t, oldText), read(t, oldMaster)
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	conn := connect(t, dsn)
	for _, sql := range []string{string(read(t, "migrations/1.sql")), `INSERT INTO keystile_schema (version) VALUES (1)`, `DELETE FROM keystile_head`, string(rows)} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			t.Fatalf("writing the old store: %v", err)
		}
	}
	withMaster := func(o *keystore.Options) { o.MasterKey = keystore.MasterKeyText(master) }
	s := joinFleet(t, dsn, "new", withMaster)
	if got := describeAll(t, s); got != string(want) {
		t.Errorf("it says\n%s\nand said\n%s", got, want)
	}
	opened := 0
	for _, k := range allKeys(t, s) {
		if _, token, err := s.RevealKey(ctx, by, k.ID); err == nil {
			opened++
			if policy.DigestOf(token.Reveal()) != k.Digest {
				t.Errorf("the token of %s is another one", k.ID)
			}
		}
	}
	if opened < 3 {
		t.Errorf("%d tokens can be shown", opened)
	}
	if report, err := s.VerifyEvents(ctx, keystore.ChainPlace{}); err != nil || report.Fault != nil || !report.Complete {
		t.Errorf("the chain is broken: %+v, %v", report, err)
	}
	if _, err := s.Signer(ctx); err != nil {
		t.Errorf("the signing keys: %v", err)
	}
	if answer, err := s.FindAnswer(ctx, "me", "key"); err != nil || answer == nil || string(answer.Body) != "body" {
		t.Errorf("the saved answer is %+v, %v", answer, err)
	}
	if _, _, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "new"}); err != nil {
		t.Errorf("changing it: %v", err)
	}
}

// TestNewerTables: a database that a newer version has changed is refused, and nothing in it is touched.
func TestNewerTables(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	joinFleet(t, dsn, "old", nil)
	conn := connect(t, dsn)
	if _, err := conn.Exec(ctx, `UPDATE keystile_schema SET version = 99`); err != nil {
		t.Fatal(err)
	}
	b, err := pgstore.Open(ctx, dsn)
	if err == nil {
		_ = b.Close()
		t.Fatal("it opens")
	}
	if !strings.Contains(err.Error(), "newer version of the program") || errors.Is(err, keystore.ErrAway) {
		t.Errorf("the error is %v", err)
	}
	var version int
	if err := conn.QueryRow(ctx, `SELECT version FROM keystile_schema`).Scan(&version); err != nil || version != 99 {
		t.Errorf("its version is %d now, %v", version, err)
	}
}

// TestNewerNeighbour: a node beside which a newer version writes something that it does not understand does not go past it: it
// stops accepting keys when its time is over, and one that starts says why it does not.
func TestNewerNeighbour(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dsn := pgtest.Shared(t).Database(t)
	s := joinFleet(t, dsn, "old", func(o *keystore.Options) { o.MaxStaleness = 2 * time.Second })
	if _, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "O"}); err != nil {
		t.Fatal(err)
	}
	b, err := pgstore.Open(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	head, err := b.Head(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next, body := head, []byte(`{"id":"evt_8DpB666oivXndiwRZBWX","type":"thing.created"}`)
	next.Revision, next.Events, next.Hash = head.Revision+1, head.Events+1, sha256.Sum256(body)
	err = b.Commit(ctx, &keystore.Commit{
		Previous: head, Next: next,
		Rows: []keystore.Row{{Table: 99, ID: "thing_1", Data: []byte("x")}}, Events: []keystore.EventRow{{Seq: next.Events, Body: body}},
	})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the node was stale", func() bool { return s.Stale(time.Now()) })
	if got := s.Snapshot().Revision(); got != head.Revision {
		t.Errorf("it went on to revision %d", got)
	}
	if s.Behind() != 1 {
		t.Errorf("it is %d behind, want 1", s.Behind())
	}
	late, err := keystore.Open(ctx, keystore.Options{Backend: b, MasterKey: keystore.MasterKeyText(nil), Node: "late"})
	if err == nil {
		_ = late.Close()
		t.Fatal("a node starts on what it does not understand")
	}
	if !strings.Contains(err.Error(), "newer version of the program") {
		t.Errorf("the error is %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func allKeys(t *testing.T, s *keystore.Store) []*keystore.Key {
	t.Helper()
	rows, _, err := s.Snapshot().Keys(keystore.KeyFilter{}, keystore.Page{Limit: 100}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// describeAll is what stored objects say, in an order and a form that later versions can keep to.
func describeAll(t *testing.T, s *keystore.Store) string {
	t.Helper()
	var lines []string
	snap := s.Snapshot()
	for _, k := range allKeys(t, s) {
		lines = append(lines, fmt.Sprintf("%s %s %s of %s%s %s %q %q %s ends %s deleted %t after %q before %q limit %d ranges %v permissions %v imported %t at %d",
			k.ID, k.Kind, k.Mode, k.Account, k.Organization, k.Sandbox, k.Name, k.Note, k.Mask, k.ExpiresAt.Format(time.RFC3339), k.Deleted, k.Predecessor, k.Successor,
			k.RateLimit, k.IPRanges, k.Principal.Permissions.Map(), k.Imported, k.Revision))
	}
	slices.Sort(lines)
	lines = append(lines, fmt.Sprintf("revision %d, %d keys", snap.Revision(), s.Len()))
	return strings.Join(lines, "\n") + "\n"
}

// writeOldStore writes what TestUpgrade reads. It is done once for each version of the tables, by the last program that writes it.
func writeOldStore(t *testing.T) {
	ctx := context.Background()
	master, err := keystore.NewMasterKeyset()
	if err != nil {
		t.Fatal(err)
	}
	dsn := pgtest.Shared(t).Database(t)
	s := joinFleet(t, dsn, "old", func(o *keystore.Options) { o.MasterKey = keystore.MasterKeyText(master) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	org, err := s.CreateOrganization(ctx, by, keystore.OrganizationParams{Name: "Organization"})
	must(err)
	account, keys, err := s.CreateAccount(ctx, by, keystore.AccountParams{
		Name: "Account", Organization: org.ID, DefaultVersion: "2026-01-01", RateLimit: keystore.RateLimit{Live: 7},
	})
	must(err)
	other, _, err := s.CreateAccount(ctx, by, keystore.AccountParams{Name: "Other"})
	must(err)
	_, err = s.Connect(ctx, by, account.ID, other.ID)
	must(err)
	_, _, err = s.CreateSandbox(ctx, by, account.ID, "staging")
	must(err)
	restricted, _, err := s.CreateKey(ctx, by, keystore.KeyParams{
		Kind: policy.KindRestricted, Mode: policy.ModeLive, Account: account.ID, Name: "restricted", Note: "note",
		Permissions:          policy.NewPermissions(map[string]policy.Access{"charges": policy.AccessWrite}),
		ConnectedPermissions: policy.NewPermissions(map[string]policy.Access{"customers": policy.AccessRead}),
		IPRanges:             []string{"203.0.113.0/24"}, Metadata: map[string]string{"a": "b"}, RateLimit: 5,
	})
	must(err)
	_, _, err = s.CreateKey(ctx, by, keystore.KeyParams{Kind: policy.KindOrganization, Mode: policy.ModeLive, Organization: org.ID, Name: "organization"})
	must(err)
	_, _, err = s.RotateKey(ctx, by, restricted.ID, keystore.RotateParams{})
	must(err)
	_, err = s.DeleteKey(ctx, by, keys[2].ID)
	must(err)
	_, err = s.ImportKeys(ctx, by, []keystore.ImportParams{{
		KeyParams: keystore.KeyParams{Kind: policy.KindSecret, Mode: policy.ModeLive, Account: account.ID, Name: "imported"}, Token: policy.TokenFrom("legacy-1"),
	}})
	must(err)
	_, _, err = s.CreateAdminToken(ctx, by, keystore.AdminTokenParams{Name: "admin", Role: keystore.RoleOwner})
	must(err)
	_, _, err = s.CreateWebhookEndpoint(ctx, by, keystore.WebhookParams{URL: "https://example.com/hooks", Events: []string{keystore.AllEvents}})
	must(err)
	_, _, err = s.InviteMember(ctx, by, keystore.MemberParams{
		Name: "Jenny", Email: "jenny@example.com", Grants: []keystore.Grant{{Role: keystore.RoleOwner}},
	}, time.Hour)
	must(err)
	must(s.SaveAnswer(ctx, &keystore.Answer{Caller: "me", Key: "key", Expires: time.Now().AddDate(50, 0, 0), Body: []byte("body")}))
	_, err = s.Signer(ctx)
	must(err)
	s.Touch(keys[0], time.Now(), netip.MustParseAddr("203.0.113.1"))
	want := describeAll(t, s)
	must(s.Close())

	conn := connect(t, dsn)
	var out bytes.Buffer
	for _, table := range dumped {
		rows, err := conn.Query(ctx, `SELECT t::text FROM `+table+` AS t`)
		must(err)
		for rows.Next() {
			var text string
			must(rows.Scan(&text))
			fmt.Fprintf(&out, "INSERT INTO %s SELECT ('%s'::%s).*;\n", table, strings.ReplaceAll(text, "'", "''"), table)
		}
		must(rows.Err())
	}
	must(os.MkdirAll("testdata", 0o755))
	must(os.WriteFile(oldRows, out.Bytes(), 0o600))
	must(os.WriteFile(oldText, []byte(want), 0o600))
	must(os.WriteFile(oldMaster, master, 0o600))
}
