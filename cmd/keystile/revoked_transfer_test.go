package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestStreamDownloadOfARevokedKey: a file on its way ends with its key, also while it flows as fast as it can.
func TestStreamDownloadOfARevokedKey(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "file"), 1<<40); err != nil { // a hole: it takes no space
		t.Fatal(err)
	}
	port := gatetest.FreePort(t)
	g := gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog,
		Sites:    fmt.Sprintf("http://:%d {\n\tbind 127.0.0.1\n\troot %s\n\tkeystile\n\tfile_server\n}\n", port, root),
	})
	account := g.Admin.CreateAccount(t, "a", "").ID
	for name, pause := range map[string]time.Duration{"fast": 0, "slow": 5 * time.Millisecond} {
		key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": account, "name": name})
		resp := download(t, fmt.Sprintf("http://127.0.0.1:%d/file", port), key.Token)
		buffer := make([]byte, 64<<10)
		if _, err := io.ReadFull(resp.Body, buffer); err != nil {
			t.Fatal(err)
		}
		g.Admin.DeleteKey(t, key.ID)
		ends(t, "the "+name+" download", func() error {
			time.Sleep(pause)
			_, err := resp.Body.Read(buffer)
			return err
		})
	}
}

func download(t *testing.T, url, token string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %+v, %v, want 200", resp, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// TestStreamUploadOfARevokedKey: a body that trickles in is not delivered to its end for a key that is gone.
func TestStreamUploadOfARevokedKey(t *testing.T) {
	t.Parallel()
	var whole atomic.Int32
	read := make(chan struct{}, 10)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		buffer := make([]byte, 1024)
		for {
			_, err := r.Body.Read(buffer)
			if err == io.EOF {
				whole.Add(1)
			}
			if err != nil {
				return
			}
			select {
			case read <- struct{}{}:
			default:
			}
		}
	}))
	t.Cleanup(backend.Close)
	g, site, other, _ := siteFor(t, "mode any", backend.Listener.Addr().String())
	for name, head := range map[string]string{
		"chunked":    "Transfer-Encoding: chunked",
		"long":       "Content-Length: 5000000",
		"long, held": "Content-Length: 5000000",
	} {
		key := g.Admin.CreateKey(t, gatetest.Fields{"kind": "secret", "mode": "live", "account": other.Account, "name": name})
		conn, err := gatetest.DialFrom("", site)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		piece := "5\r\nhello\r\n"
		if _, err := io.WriteString(conn, gatetest.Request("POST", "/v1/customers", "", gatetest.Bearer(key.Token), head)+piece); err != nil {
			t.Fatal(err)
		}
		<-read // the backend has the first piece
		g.Admin.DeleteKey(t, key.ID)
		stop := make(chan struct{})
		go func() {
			for name != "long, held" { // the client goes on sending, or says nothing more
				select {
				case <-stop:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if _, err := io.WriteString(conn, piece); err != nil {
					return
				}
			}
		}()
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		buffer := make([]byte, 4096)
		ends(t, "the upload ("+name+")", func() error {
			_, err := conn.Read(buffer)
			return err
		})
		close(stop)
		for len(read) > 0 {
			<-read
		}
	}
	if n := whole.Load(); n != 0 {
		t.Errorf("%d uploads arrived whole", n)
	}
}
