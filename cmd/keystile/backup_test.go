package main_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestBackupAndRestore copies a store while it is in use, loses it, and puts the copy in place.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	g.WriteConfig(t, gatetest.Config{}.Text(g))
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.Start(t)
	a := g.Admin.CreateAccount(t, "Shop", "")
	before := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": a.ID})
	backup := filepath.Join(g.Dir, "keys.tar")
	wants(t, g.Run(t, "backup", backup), 0, "wrote", "keys.tar")
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v, %v, want mode 0600", info, err)
	}
	after := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": a.ID})
	wants(t, g.Run(t, "backup", backup), 1, "keys.tar") // is not replaced

	wants(t, g.Run(t, "restore", backup), 1, "is in use", "stop the gateway", "nothing was changed")
	wants(t, g.Run(t, "restore", backup, "--force"), 1, "is in use")
	wants(t, g.Run(t, "restore", backup, "--check"), 0, "events in order", "whole")
	wants(t, g.Run(t, "restore", backup, "--check", "--json"), 0, `"object":"restore"`, `"placed":false`)
	g.Stop(t)
	wants(t, g.Run(t, "restore", backup), 1, "--force", "nothing was changed")

	whole, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoiled := range map[string][]byte{
		"cut": whole[:len(whole)/2], "empty": nil, "other": []byte(strings.Repeat("no tar", 300)),
		"changed": bytes.Replace(whole, []byte("account.created"), []byte("account.creator"), 1),
	} {
		path := filepath.Join(g.Dir, name+".tar")
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		r := g.Run(t, "restore", path, "--force")
		if r.Code != 1 {
			t.Errorf("restoring a backup that is %s: exit code %d\n%s%s", name, r.Code, r.Stdout, r.Stderr)
		}
	}
	wants(t, g.Run(t, "restore", backup, "--force"), 0, "moved the store", "restored")
	aside, _ := filepath.Glob(g.StorePath() + ".*")
	if len(aside) != 1 {
		t.Errorf("moved aside: %q, want one file", aside)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(g.StorePath()), ".*"))
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	g.Start(t)
	keys := fmt.Sprint(g.Admin.Keys(t, nil))
	if !strings.Contains(keys, before.ID) || strings.Contains(keys, after.ID) {
		t.Errorf("after the restore the keys are %s, want %s and not %s", keys, before.ID, after.ID)
	}
	wants(t, g.Run(t, "event", "verify"), 0, "in order")
	g.Stop(t)

	// Without its master key, or with another one, the operator is told before the gateway is.
	master := filepath.Join(filepath.Dir(g.StorePath()), "master.key")
	if err := os.Remove(g.StorePath()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(master, master+".away"); err != nil {
		t.Fatal(err)
	}
	wants(t, g.Run(t, "restore", backup), 0, "does not start without it")
}

// TestRestoreWhileRunning puts a backup beside the store that is in use and changes over by a reload: requests are answered
// all the time, a key of the backup works from then on, and one that was made later does not.
func TestRestoreWhileRunning(t *testing.T) {
	t.Parallel()
	g := gatetest.New(t)
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	port := gatetest.FreePort(t)
	site := fmt.Sprintf("127.0.0.1:%d", port)
	configure := func(store string) {
		g.WriteConfig(t, gatetest.Config{
			Keystile: store + gatetest.Catalog, Sites: fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\tkeystile\n\trespond ok\n}\n", port),
		}.Text(g))
	}
	status := func(token string) int {
		answer, err := gatetest.Send(site, "", get("/v1/customers", token))
		if err != nil {
			t.Error(err)
			return 0
		}
		return answer.Status
	}
	configure("")
	g.Start(t)
	account := g.Admin.CreateAccount(t, "Shop", "").ID
	create := func() gatetest.Key {
		return g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account})
	}
	stays, deleted := create(), create()
	backup := filepath.Join(g.Dir, "keys.tar")
	wants(t, g.Run(t, "backup", backup), 0, "wrote")
	g.Admin.DeleteKey(t, deleted.ID)
	later := create()
	if got := []int{status(stays.Token), status(deleted.Token), status(later.Token)}; fmt.Sprint(got) != "[200 401 200]" {
		t.Fatalf("before the restore the keys are answered %v", got)
	}

	restored := filepath.Join(filepath.Dir(g.StorePath()), "restored.db")
	wants(t, g.Run(t, "restore", backup), 1, "or restore to another path with --store")
	wants(t, g.Run(t, "restore", backup, "--store", restored), 0, "restored")
	configure("store bolt " + restored + "\n")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				// A connection that Caddy resets at that very moment has no answer: what counts is what is answered
				answer, err := gatetest.Send(site, "", get("/v1/customers", stays.Token))
				if err == nil && answer.Status != 200 {
					t.Errorf("while the store is changed over: status %d", answer.Status)
				}
			}
		}
	}()
	wants(t, g.Run(t, "reload", "--config", g.ConfigPath()), 0)
	if got := []int{status(stays.Token), status(deleted.Token), status(later.Token)}; fmt.Sprint(got) != "[200 200 401]" {
		t.Errorf("after the restore the keys are answered %v", got)
	}
	close(stop)
	<-done
	g.Admin.DeleteKey(t, deleted.ID)
	if got := status(deleted.Token); got != 401 {
		t.Errorf("deleted in the restored store: status %d", got)
	}
	wants(t, g.Run(t, "event", "verify"), 0, "in order")
	g.Stop(t)
	g.Start(t)
	if got := []int{status(stays.Token), status(deleted.Token)}; fmt.Sprint(got) != "[200 401]" {
		t.Errorf("after a restart the keys are answered %v", got)
	}
}

// TestKilledImport kills the gateway while it imports: all keys are there afterwards, or none.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	const rows = 20_000
	g := gatetest.New(t)
	g.WriteConfig(t, gatetest.Config{}.Text(g))
	g.Setenv("CADDY_ADMIN=" + g.AdminAddr)
	g.Start(t)
	a := g.Admin.CreateAccount(t, "Shop", "")
	var file bytes.Buffer
	file.WriteString("sha256,kind,mode,account\n")
	for i := range rows {
		fmt.Fprintf(&file, "%064x,secret,live,%s\n", i+1, a.ID)
	}
	path := filepath.Join(g.Dir, "keys.csv")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		r := g.Run(t, "key", "export")
		if r.Code != 0 {
			t.Fatalf("exporting: %s", r.Stderr)
		}
		return strings.Count(r.Stdout, "\n")
	}
	others := count()
	for try := range 3 {
		done := make(chan gatetest.Result, 1)
		go func() { done <- g.Run(t, "key", "import", path) }()
		time.Sleep(time.Duration(400+try*600) * time.Millisecond)
		g.Kill(t)
		said := <-done
		g.Start(t)
		switch n := count() - others; {
		case n != 0 && n != rows:
			t.Fatalf("after a kill there are %d keys of %d", n, rows)
		case n == 0 && said.Code == 0:
			t.Fatalf("an import that was acknowledged is gone: %s", said.Stdout)
		case n == rows:
			t.Logf("try %d: all were there", try)
			return
		}
	}
	wants(t, g.Run(t, "key", "import", path), 0, fmt.Sprintf("imported %d keys", rows))
	if n := count() - others; n != rows {
		t.Errorf("%d keys, want %d", n, rows)
	}
	wants(t, g.Run(t, "event", "verify"), 0, "in order")
}

// wants checks an exit code, and that each text stands in one of the outputs.
func wants(t *testing.T, r gatetest.Result, code int, texts ...string) {
	t.Helper()
	if r.Code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", r.Code, code, r.Stdout, r.Stderr)
	}
	for _, text := range texts {
		if !strings.Contains(r.Stdout+r.Stderr, text) {
			t.Errorf("the output has no %q:\n%s%s", text, r.Stdout, r.Stderr)
		}
	}
}
