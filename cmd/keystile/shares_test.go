package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// customers is a gateway with a site for the admin API, a site for requests, and three customers with an account each.
type customers struct {
	*adminSite
	gate     string
	accounts [3]string
	tokens   [3]string // an owner's of each
	client   *http.Client
}

func newCustomers(t *testing.T) *customers {
	t.Helper()
	site, gate := gatetest.FreeAddr(t), gatetest.FreeAddr(t)
	c := &customers{adminSite: &adminSite{url: "http://" + site}, gate: gate}
	c.Gateway = gatetest.Launch(t, gatetest.Config{
		Keystile: gatetest.Catalog,
		Sites: c.url + " {\n\tbind 127.0.0.1\n\tkeystile_admin\n}\n" +
			"http://" + gate + " {\n\tbind 127.0.0.1\n\tkeystile {\n\t\tmode any\n\t}\n\trespond ok\n}",
	})
	for i := range c.accounts {
		c.accounts[i] = c.Admin.CreateAccount(t, fmt.Sprint("customer ", i), "").ID
		var made struct{ Token string }
		c.Admin.Do(t, "POST", "/v1/admin_tokens", map[string]any{"name": "owner", "role": "owner", "account": c.accounts[i]}, &made)
		c.tokens[i] = made.Token
	}
	// Little room for what is not read yet: a reader that reads nothing keeps the other side waiting.
	dialer := &net.Dialer{}
	c.client = &http.Client{Transport: &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		return conn, err
	}}}
	t.Cleanup(c.client.CloseIdleConnections)
	return c
}

// as makes a call as one of the customers.
func (c *customers) as(t *testing.T, customer int, method, path string, in any) (int, http.Header, string) {
	t.Helper()
	body := ""
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	}
	status, header, answer := c.call(t, method, path, body, "Authorization", "Bearer "+c.tokens[customer])
	var made struct{ Token, Secret string }
	if json.Unmarshal(answer, &made) == nil {
		for _, secret := range []string{made.Token, made.Secret} {
			if secret != "" {
				c.Admin.Remember(secret)
			}
		}
	}
	return status, header, string(answer)
}

// hold opens a stream as one of the customers and reads nothing of it until the test ends, or leave is called.
func (c *customers) hold(t *testing.T, customer int, path string) (status int, code string, leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.tokens[customer])
	resp, err := c.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	leave = func() { cancel(); resp.Body.Close() }
	t.Cleanup(leave)
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		failure, err := gatetest.ParseError(body)
		if err != nil {
			t.Fatal(err)
		}
		code = failure.Code
	}
	return resp.StatusCode, code, leave
}

// TestSharesOfCustomers: what one customer may have of webhook endpoints, admin tokens, live tails and exports they fill, are told so,
// and leave the next ones theirs; two who take all they can of tails and exports leave room for a third.
func TestSharesOfCustomers(t *testing.T) {
	t.Parallel()
	c := newCustomers(t)
	for _, kind := range []struct {
		path string
		most int
		body map[string]any
	}{
		{"/v1/webhook_endpoints", 16, map[string]any{"url": "https://example.com/", "events": []string{"*"}}},
		{"/v1/admin_tokens", 200, map[string]any{"name": "one more", "role": "viewer"}},
	} {
		have := 0
		if kind.path == "/v1/admin_tokens" {
			have = 1
		}
		add := func(customer int) (int, string) {
			kind.body["account"] = c.accounts[customer]
			status, _, answer := c.as(t, customer, "POST", kind.path, kind.body)
			return status, answer
		}
		for ; have < kind.most; have++ {
			if status, answer := add(0); status != 200 {
				t.Fatalf("%s, with %d there: %d %s", kind.path, have, status, answer)
			}
		}
		if status, answer := add(0); status != 409 || !strings.Contains(answer, fmt.Sprintf("the account has %d ", kind.most)) {
			t.Errorf("%s, one too many: %d %s", kind.path, status, answer)
		}
		if status, answer := add(1); status != 200 {
			t.Errorf("%s of the next customer: %d %s", kind.path, status, answer)
		}
	}
	c.fillLog(t)
	for _, kind := range []struct {
		path, code  string
		first, next int // how many the first customer gets, and the second beside them
	}{
		{"/v1/request_logs/tail", "tail_unavailable", 16, 8},
		{"/v1/request_logs/export?format=jsonl", "export_unavailable", 3, 1},
	} {
		var leave func()
		for customer, most := range []int{kind.first, kind.next} {
			for i := range most {
				var status int
				if status, _, leave = c.hold(t, customer, kind.path); status != 200 {
					t.Fatalf("%s, customer %d, number %d: %d", kind.path, customer, i, status)
				}
			}
			if status, code, _ := c.hold(t, customer, kind.path); status != 503 || code != kind.code {
				t.Errorf("%s, customer %d, one too many: %d %s", kind.path, customer, status, code)
			}
		}
		if status, code, _ := c.hold(t, 2, kind.path); status != 200 {
			t.Errorf("%s, the third customer beside two who take all they can: %d %s", kind.path, status, code)
		}
		leave()
	}
}

// fillLog makes the records of each customer so many that no export of them ends while nobody reads it.
func (c *customers) fillLog(t *testing.T) {
	t.Helper()
	var sending sync.WaitGroup
	for _, account := range c.accounts {
		key := c.Admin.DefaultKey(t, account, "secret", "live")
		for range 4 {
			sending.Go(func() {
				client := &http.Client{Transport: new(http.Transport)}
				defer client.CloseIdleConnections()
				for range 1500 {
					r, err := http.NewRequest(http.MethodGet, "http://"+c.gate+"/v1/customers/"+strings.Repeat("x", 1500), nil)
					if err != nil {
						t.Error(err)
						return
					}
					r.Header.Set("Authorization", "Bearer "+key.Token)
					r.Header.Set("User-Agent", strings.Repeat("u", 500))
					resp, err := client.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
	}
	sending.Wait()
	awaitAccounted(t, c.Gateway)
}

// TestImportsOfCustomers: while the file of one customer is on its way others are refused, and told when to ask again; they come next, in
// the order of their asking, and who has just imported comes after them.
func TestImportsOfCustomers(t *testing.T) {
	t.Parallel()
	c := newCustomers(t)
	row := func(customer int, name string) string {
		return fmt.Sprintf(`{"kind":"secret","mode":"live","account":%q,"name":%q,"token":"imported_%s_%d_0123456789abcdef0123456789"}`+"\n", c.accounts[customer], name, name, customer)
	}
	send := func(customer int, body io.Reader) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/v1/key_imports", body)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		r.Header.Set("Authorization", "Bearer "+c.tokens[customer])
		r.Header.Set("Content-Type", "application/x-ndjson")
		resp, err := c.client.Do(r)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		answer, _ := io.ReadAll(resp.Body)
		if resp.StatusCode == 409 && resp.Header.Get("Retry-After") == "" {
			t.Errorf("refused without saying when to ask again: %s", answer)
		}
		return resp.StatusCode, string(answer)
	}
	upload, file := io.Pipe()
	first := make(chan int, 1)
	go func() {
		status, answer := send(0, upload)
		if status != 200 {
			t.Errorf("the first import: %d %s", status, answer)
		}
		first <- status
	}()
	if _, err := io.WriteString(file, row(0, "first")); err != nil {
		t.Fatal(err)
	}
	// Until the server has begun to read the file, an empty one of another customer is refused for being empty.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, answer := send(1, strings.NewReader("\n"))
		if status == 409 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("beside an import of another: %d %s", status, answer)
		}
	}
	if status, answer := send(2, strings.NewReader(row(2, "early"))); status != 409 {
		t.Errorf("a second one beside it: %d %s", status, answer)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	<-first
	for _, customer := range []int{0, 2} {
		if status, answer := send(customer, strings.NewReader(row(customer, "before"))); status != 409 {
			t.Errorf("customer %d comes before who has asked first: %d %s", customer, status, answer)
		}
	}
	for _, customer := range []int{1, 2} {
		// What an import brings goes into memory behind its answer, and the next one waits for that.
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			status, answer := send(customer, strings.NewReader(row(customer, "turn")))
			if status == 200 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("customer %d, whose turn it is: %d %s", customer, status, answer)
			}
		}
	}
}
