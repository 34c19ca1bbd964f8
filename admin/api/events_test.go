package api_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/boltstore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.actor.Address = "192.0.2.7"
	a := f.account("Shop")
	k := f.restricted(a.ID)
	f.advance(time.Hour)
	f.ok("PATCH", "/v1/keys/"+k.ID, map[string]any{"name": "=invoices"})
	f.ok("DELETE", "/v1/keys/"+k.ID, nil)

	all := as[api.EventList](f.ok("GET", "/v1/events?limit=100", nil))
	if len(all.Data) != 9 || all.HasMore || all.Data[0].Type != "key.deleted" || all.Data[0].Seq != 9 {
		t.Fatalf("the list: %+v", all)
	}
	edit := all.Data[1]
	if edit.Before["name"] != "billing" || edit.After["name"] != "=invoices" || len(edit.After) != 1 || edit.Actor.Address != "192.0.2.7" || edit.Actor.Kind != "local" || edit.Account != a.ID {
		t.Errorf("the edit: %+v", edit)
	}
	for i, e := range all.Data[:8] {
		if e.Previous != all.Data[i+1].Hash {
			t.Errorf("event %d does not follow from the one before it", e.Seq)
		}
	}
	for query, want := range map[string]int{
		"type=key.created": 5, "type=key.*": 7, "object=" + k.ID: 3, "account=" + a.ID: 9, "actor=local": 9, "actor=nobody": 0,
		"since=30m": 2, "until=30m": 7, "organization=org_0000000000000000": 0, "type=sandbox.created&account=" + a.ID: 1,
	} {
		if got := as[api.EventList](f.ok("GET", "/v1/events?limit=100&"+query, nil)); len(got.Data) != want {
			t.Errorf("%s lists %d events, want %d", query, len(got.Data), want)
		}
	}
	var paged []string
	for after := ""; ; {
		p := as[api.EventList](f.ok("GET", "/v1/events?limit=4"+after, nil))
		for _, e := range p.Data {
			paged = append(paged, e.ID)
			if one := as[api.Event](f.ok("GET", "/v1/events/"+e.ID, nil)); one.Hash != e.Hash {
				t.Errorf("event %s alone: %+v", e.ID, one)
			}
		}
		if !p.HasMore {
			break
		}
		after = "&starting_after=" + *p.Next
	}
	if len(paged) != 9 || paged[0] != all.Data[0].ID || paged[8] != all.Data[8].ID {
		t.Errorf("in pages: %q", paged)
	}
	for _, query := range []string{"type=keys", "since=yesterday", "starting_after=evt_00000000000000000000", "starting_after=key_1", "since=1h&until=2h", "limit=0"} {
		f.do("GET", "/v1/events?"+query, nil).want(400)
	}
	f.do("GET", "/v1/events/evt_00000000000000000000", nil).want(404)

	whole := as[api.EventVerification](f.ok("GET", "/v1/events/verify", nil))
	if !whole.Intact || !whole.Complete || whole.Checked != 9 || whole.Events != 9 || whole.FirstBad != nil {
		t.Errorf("the verification: %+v", whole)
	}
	f.restricted(a.ID)
	if next := as[api.EventVerification](f.ok("GET", "/v1/events/verify?after="+whole.Place, nil)); !next.Intact || next.Checked != 1 {
		t.Errorf("from the noted place: %+v", next)
	}
	forged := "9:" + strings.Repeat("0", 64)
	if bad := as[api.EventVerification](f.ok("GET", "/v1/events/verify?after="+forged, nil)); bad.Intact || bad.FirstBad == nil || bad.FirstBad.Seq != 9 {
		t.Errorf("from a place that never was: %+v", bad)
	}
	f.do("GET", "/v1/events/verify?after=9", nil).want(400)
}

func TestEventExport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a := f.account("=Shop")
	lines := f.ok("GET", "/v1/events/export", nil)
	previous := strings.Repeat("0", 64)
	count := 0
	for line := range bytes.Lines(lines.body) {
		var e keystore.Event
		line = bytes.TrimSuffix(line, []byte("\n"))
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Previous != previous {
			t.Errorf("line %d does not follow from the one before it", e.Seq)
		}
		sum := sha256.Sum256(line)
		previous = hex.EncodeToString(sum[:])
		count++
	}
	if count != 6 {
		t.Errorf("%d lines, want 6", count)
	}
	table := f.ok("GET", "/v1/events/export?format=csv&type=account.*", nil)
	rows, err := csv.NewReader(bytes.NewReader(table.body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][0] != "id" || rows[1][9] != a.ID || rows[1][13] != `{"name":"=Shop"}` {
		t.Errorf("as CSV: %q, %v", rows, err)
	}
	f.do("GET", "/v1/events/export?format=xml", nil).want(400)
	f.do("GET", "/v1/events/export?type=keys", nil).want(400)
	f.ok("HEAD", "/v1/events/export", nil)
}

func TestKeyExport(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, other := f.account("Shop").ID, f.account("Other").ID
	k := f.key(map[string]any{"kind": "restricted", "mode": "live", "account": a, "name": "=1+1", "permissions": map[string]string{}})
	lines := f.ok("GET", "/v1/keys/export", nil)
	if got := bytes.Count(lines.body, []byte("\n")); got != 9 {
		t.Errorf("%d lines, want 9", got)
	}
	if bytes.Contains(lines.body, []byte(`"token":`)) || bytes.Contains(lines.body, []byte("pk_live_0")) {
		t.Error("the export has tokens")
	}
	table := f.ok("GET", "/v1/keys/export?format=csv&mode=live&account="+a, nil)
	rows, err := csv.NewReader(bytes.NewReader(table.body)).ReadAll()
	if err != nil || len(rows) != 4 || rows[1][0] != k.ID || rows[1][7] != "'=1+1" || rows[1][10] != "none" {
		t.Errorf("as CSV: %q, %v", rows, err)
	}
	if strings.Contains(string(table.body), other) {
		t.Error("the filter did not hold")
	}
	f.do("GET", "/v1/keys/export?status=gone", nil).want(400)
}

// revoking is a reader who takes a second over the first part of an answer, and whose credential is deleted meanwhile.
type revoking struct {
	*httptest.ResponseRecorder
	once   sync.Once
	revoke func()
}

func (w *revoking) Write(b []byte) (int, error) {
	w.once.Do(w.revoke)
	return w.ResponseRecorder.Write(b)
}

// TestKeyExportAsksAgainByTime: an export of few keys to a slow reader, too, breaks off once its credential is deleted.
func TestKeyExportAsksAgainByTime(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) {
		tokens := auth.Tokens{Store: c.Store, Now: c.Now}
		c.Caller = func(r *http.Request) (*auth.Caller, error) { return tokens.Caller(r, netip.MustParseAddr("192.0.2.9")) }
	})
	by := keystore.Actor{Kind: "system"}
	for range 100 { // with four keys each
		if _, _, err := f.store.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"}); err != nil {
			t.Fatal(err)
		}
	}
	token, secret, err := f.store.CreateAdminToken(t.Context(), by, keystore.AdminTokenParams{Name: "x", Role: keystore.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	export := func(revoke func()) (lines int, broken bool) {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/keys/export", nil)
		r.Header.Set("Authorization", "Bearer "+secret.Reveal())
		w := &revoking{ResponseRecorder: httptest.NewRecorder(), revoke: revoke}
		func() {
			defer func() { broken = recover() != nil }()
			f.handler.ServeHTTP(w, r)
		}()
		return bytes.Count(w.Body.Bytes(), []byte("\n")), broken
	}
	if lines, broken := export(func() {}); lines != 400 || broken {
		t.Fatalf("%d lines, broken off: %v; want all 400", lines, broken)
	}
	lines, broken := export(func() {
		f.advance(time.Second)
		if err := f.store.DeleteAdminToken(t.Context(), by, token.ID); err != nil {
			t.Error(err)
		}
	})
	if lines >= 400 || !broken {
		t.Errorf("%d lines, broken off: %v; want it broken off", lines, broken)
	}
}

// TestBackup takes a backup of a store in a file, and finds a whole store in it.
func TestBackup(t *testing.T) {
	t.Parallel()
	backend, err := boltstore.Open(filepath.Join(t.TempDir(), "keys.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	store := keystoretest.NewStore(t, keystore.Options{Backend: backend})
	f := newFixture(t, func(c *api.Config) { c.Store = store })
	f.account("Shop")
	archive := tar.NewReader(bytes.NewReader(f.ok("GET", "/v1/backup", nil).body))
	var manifest keystore.BackupManifest
	parts := map[string][]byte{}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if parts[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(parts["keys.db"])
	if manifest.Events != 6 || manifest.Revision != 1 || manifest.SHA256 != hex.EncodeToString(sum[:]) || manifest.MasterKey == "" ||
		string(parts["keys.db.sha256"]) != fmt.Sprintf("%x  keys.db\n", sum) {
		t.Errorf("the manifest: %+v", manifest)
	}
	// A backend in memory has nothing to copy.
	newFixture(t).do("GET", "/v1/backup", nil).want(400)
}
