//go:build linux

package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// diskBed is a gateway with one site, whose backend is itself, and a key.
type diskBed struct {
	*overloaded
	spare gatetest.Key // to be deleted
}

// onSmallDisk makes a gateway whose data directory is a file system of a few MiB in memory, which the test can really fill.
func onSmallDisk(t *testing.T) *diskBed {
	t.Helper()
	t.TempDir() // made first, so that it is removed last: cleanups run from the last to the first
	var mounted string
	t.Cleanup(func() {
		if mounted != "" {
			if out, err := asRoot("umount", mounted).CombinedOutput(); err != nil {
				t.Errorf("unmounting %s: %v\n%s", mounted, err, out)
			}
		}
	})
	g := gatetest.New(t)
	data := filepath.Join(g.Dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	options := fmt.Sprintf("nosuid,nodev,size=8m,mode=0700,uid=%d", os.Geteuid())
	if out, err := asRoot("mount", "-t", "tmpfs", "-o", options, "none", data).CombinedOutput(); err != nil {
		t.Fatalf("this test fills a file system of its own, which it mounts (tmpfs, 8 MiB), and needs to be root, or sudo, with CAP_SYS_ADMIN: %v\n%s", err, out)
	}
	mounted = data
	return newDiskBed(t, g)
}

// asRoot is a command that only root may run.
func asRoot(name string, args ...string) *exec.Cmd {
	if os.Geteuid() == 0 {
		return exec.Command(name, args...)
	}
	return exec.Command("sudo", append([]string{"-n", name}, args...)...)
}

func newDiskBed(t *testing.T, g *gatetest.Gateway) *diskBed {
	t.Helper()
	b := &diskBed{overloaded: newOverloadedOn(t, g)}
	b.spare = b.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": b.key.Account, "name": "spare"})
	return b
}

// served sends requests and wants all of them served.
func (b *diskBed) served(t *testing.T, when string, n int) {
	t.Helper()
	before := int(b.statuses[200].Load())
	b.send(t, b.drop, n)
	if got := int(b.statuses[200].Load()) - before; got != n {
		t.Errorf("%s: %d of %d requests were served", when, got, n)
	}
}

// fill writes a file until there is no room left.
func fill(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	return path
}

// errorsMetric counts what the request log could not do.
const errorsMetric = "caddy_keystile_request_log_errors_total"

// TestFullDisk fills the disk under the running process. Requests go on; changes are refused until there is room, and those that were
// acknowledged are there after a kill on the full disk; records that find no room are counted, and a gap record tells of them.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := onSmallDisk(t)
	b.served(t, "with room", 50)
	awaitMetric(t, b.Gateway, queuedMetric, 0)
	filler := fill(t, filepath.Join(b.Dir, "data"))

	// The store's file has some room within itself, so that a few changes may still go through.
	var made []string
	refused := false
	for n := 0; n < 3000 && !refused; n++ {
		var account gatetest.Account
		status, body, err := b.Admin.Call("POST", "/v1/accounts", gatetest.Fields{"name": fmt.Sprint("full ", n)})
		switch {
		case err != nil:
			t.Fatal(err)
		case status == 200:
			if err := json.Unmarshal(body, &account); err != nil {
				t.Fatal(err)
			}
			made = append(made, account.ID)
		default:
			refused = true
			if e, err := gatetest.ParseError(body); err != nil || status != 503 || e.Code != "store_unavailable" {
				t.Errorf("a change on a full disk: %d %s", status, body)
			}
		}
	}
	if !refused {
		t.Fatal("the disk never got full for the store")
	}
	b.served(t, "on a full disk", 9000) // more than the queue holds
	m := readMetrics(t, b.Gateway)
	if m[errorsMetric] == 0 || m[droppedMetric] == 0 {
		t.Errorf("on a full disk: %d errors, %d dropped records are counted, want some", m[errorsMetric], m[droppedMetric])
	}
	if got := b.Admin.GetKey(t, b.key.ID); got.Status != "active" {
		t.Errorf("reading on a full disk: %+v", got)
	}

	// It starts on the full disk as well, with all that was acknowledged.
	b.Kill(t)
	b.Start(t)
	for _, id := range made {
		b.Admin.Do(t, "GET", "/v1/accounts/"+id, nil, nil)
	}
	b.served(t, "started on a full disk", 50)

	// With room again everything goes on by itself.
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.Admin.DeleteKey(t, b.spare.ID)
	if answer, err := gatetest.Send(b.drop, "", get("/quick/x", b.spare.Token)); err != nil || answer.Status != 401 {
		t.Errorf("the deleted key: %+v, %v", answer, err)
	}
	b.served(t, "with room again", 50)
	awaitAccounted(t, b.Gateway)
	if requests, _ := b.listed(t); requests < 100 {
		t.Errorf("%d records are listed, want those from before and after", requests)
	}
}

// onBadDisk makes what the process asks of its files fail, or take long, until the returned function is called: strace puts the error into
// the system calls themselves, on the key store and on the file that the request log writes to.
func (b *diskBed) onBadDisk(t *testing.T, calls, inject string) (over func()) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("disk errors are injected by strace (see .ci/deps): %v", err)
	}
	args := []string{"-f", "-o", "/dev/null", "-p", strconv.Itoa(b.PID(t)), "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + inject, "-P", b.StorePath()}
	journals, err := filepath.Glob(filepath.Join(b.requests, "*.jsonl"))
	if err != nil || len(journals) == 0 {
		t.Fatalf("no file of the request log: %v", err)
	}
	for _, path := range journals {
		args = append(args, "-P", path)
	}
	cmd := asRoot("strace", args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := ""
	for in := bufio.NewScanner(said); in.Scan(); {
		if line = in.Text(); strings.Contains(line, "attached") {
			go func() { _, _ = io.Copy(io.Discard, said) }()
			return func() {
				_ = asRoot("kill", "-INT", strconv.Itoa(cmd.Process.Pid)).Run()
				_ = cmd.Wait()
			}
		}
	}
	t.Fatalf("strace may not attach (it needs CAP_SYS_PTRACE): %s, %v", line, cmd.Wait())
	return nil
}

// TestDiskErrors: a disk that answers EIO, or has become read-only, refuses changes with 503 and takes nothing from requests; nothing that
// was refused is in force, and nothing that was acknowledged is lost, after a kill too.
func TestDiskErrors(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"EIO", "EROFS"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			b := newDiskBed(t, gatetest.New(t))
			b.served(t, "before", 20)
			awaitMetric(t, b.Gateway, queuedMetric, 0)
			over := b.onBadDisk(t, "pwrite64,write,fdatasync,fsync,ftruncate,fallocate", "error="+fault)
			for range 3 {
				b.Admin.Fails(t, "DELETE", "/v1/keys/"+b.spare.ID, nil, 503, "store_unavailable")
			}
			b.Admin.Fails(t, "POST", "/v1/accounts", gatetest.Fields{"name": "lost"}, 503, "store_unavailable")
			b.served(t, "on a bad disk", 200)
			if answer, err := gatetest.Send(b.drop, "", get("/quick/x", b.spare.Token)); err != nil || answer.Status != 200 {
				t.Errorf("a key whose deletion was refused: %+v, %v, want 200", answer, err)
			}
			if fault == "EIO" {
				b.Kill(t)
				over()
				b.Start(t)
			} else {
				over()
			}
			if got := b.Admin.GetKey(t, b.spare.ID); got.Status != "active" {
				t.Errorf("a key whose deletion was refused is %s", got.Status)
			}
			b.Admin.DeleteKey(t, b.spare.ID)
			if answer, err := gatetest.Send(b.drop, "", get("/quick/x", b.spare.Token)); err != nil || answer.Status != 401 {
				t.Errorf("a key whose deletion was acknowledged: %+v, %v, want 401", answer, err)
			}
			b.served(t, "after", 20)
			awaitAccounted(t, b.Gateway)
		})
	}
}

// TestSlowDisk: every write takes half a second. Changes wait for the disk and are acknowledged once it has them; requests do not.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	b := newDiskBed(t, gatetest.New(t))
	b.served(t, "before", 20)
	awaitMetric(t, b.Gateway, queuedMetric, 0)
	over := b.onBadDisk(t, "pwrite64,fdatasync,fsync,write", "delay_enter=500000")
	var done atomic.Bool
	result := make(chan error, 1)
	began := time.Now()
	go func() {
		err := b.Admin.TryDo("DELETE", "/v1/keys/"+b.spare.ID, nil, nil)
		done.Store(true)
		result <- err
	}()
	meanwhile := 0
	for !done.Load() {
		b.served(t, "while a change waits for the disk", 8)
		meanwhile++
	}
	if err := <-result; err != nil {
		t.Errorf("a change on a slow disk: %v", err)
	}
	t.Logf("a deletion took %v, and %d requests were served meanwhile", time.Since(began).Round(time.Millisecond), 8*meanwhile)
	if meanwhile < 3 {
		t.Errorf("only %d rounds of requests passed while a change took %v", meanwhile, time.Since(began))
	}
	if answer, err := gatetest.Send(b.drop, "", get("/quick/x", b.spare.Token)); err != nil || answer.Status != 401 {
		t.Errorf("the deleted key: %+v, %v", answer, err)
	}
	over()
	awaitAccounted(t, b.Gateway)
}
