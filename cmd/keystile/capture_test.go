package main_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// TestCapture: headers and bodies stand in the records where the site asks for them, redacted. What comes back is what the
// backend sent, streams come as they are sent, and nowhere is a token or a password.
func TestCapture(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/v1/customers/stream":
			w.Header().Set("Content-Type", "application/x-ndjson")
			_, _ = io.WriteString(w, "{\"n\":1,\"password\":\"hunter2\"}\n")
			_ = http.NewResponseController(w).Flush()
			<-release
			_, _ = io.WriteString(w, "{\"n\":2}\n")
		case "/v1/customers/packed":
			w.Header().Set("Content-Type", "application/problem+json")
			w.Header().Set("Content-Encoding", "gzip")
			w.WriteHeader(422)
			zip := gzip.NewWriter(w)
			_, _ = io.WriteString(zip, `{"type":"https://api.example.com/errors/no","title":"No","detail":"No such thing","secret":"hunter2"}`)
			_ = zip.Close()
		default:
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Set-Cookie", "session=hunter2")
			_ = json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "body": string(body), "password": "hunter2"})
		}
	}))
	t.Cleanup(server.Close)
	g, site, key, _ := siteFor(t, `mode any
	sign on
	key_header X-Site-Key
	capture {
		request_headers
		response_headers
		request_body 1KiB
		response_body 8KiB
		redact_field comment
		redact_header X-Inside
		query limit
	}`, strings.TrimPrefix(server.URL, "http://"))
	do := func(method, path, media, body string, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+site+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Site-Key", key.Token)
		req.Header.Set("Accept-Encoding", "identity")
		if media != "" {
			req.Header.Set("Content-Type", media)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
	record := func(resp *http.Response) gatetest.Record {
		t.Helper()
		r := g.Admin.AwaitRecord(t, resp.Header.Get("Request-Id"))
		text, _ := json.Marshal(r)
		if err := g.FindTokens("the record", text); err != nil {
			t.Error(err)
		}
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("the record holds a secret: %s", text)
		}
		return r
	}

	resp, text := do("POST", "/v1/customers?limit=3&q=hunter2", "application/json",
		`{"amount":1,"password":"hunter2","comment":"hunter2","note":"`+key.Token+`","nested":"{\"token\":\"hunter2\"}"}`,
		"User-Agent", "test/1.0", "Cookie", "hunter2", "X-Inside", "hunter2", "X-Note", key.Token)
	r := record(resp)
	if !strings.Contains(text, "hunter2") || resp.Header.Get("Set-Cookie") != "session=hunter2" {
		t.Errorf("the answer was changed: %v %s", resp.Header, text)
	}
	wantBody := `{"amount":1,"password":"***","comment":"***","note":"` + mask(key.Token) + `","nested":"{\"token\":\"***\"}"}`
	if r["request_body"] != wantBody {
		t.Errorf("got request_body %v, want %s", r["request_body"], wantBody)
	}
	headers := make(map[string]string)
	if err := json.Unmarshal([]byte(fmt.Sprint(r["request_headers"])), &headers); err != nil {
		t.Fatalf("request_headers %v: %v", r["request_headers"], err)
	}
	for name, want := range map[string]string{"User-Agent": "test/1.0", "Cookie": "***", "X-Inside": "***", "X-Site-Key": "***", "X-Note": mask(key.Token)} {
		if headers[name] != want {
			t.Errorf("request header %s: got %q, want %q", name, headers[name], want)
		}
	}
	if got := fmt.Sprint(r["response_headers"]); !strings.Contains(got, `"Set-Cookie":"***"`) || !strings.Contains(got, `"Content-Type":"application/json"`) {
		t.Errorf("got response_headers %s", got)
	}
	if got := fmt.Sprint(r["response_body"]); !strings.Contains(got, `"Keystile-Assertion":"***"`) || !strings.Contains(got, `"password":"***"`) || !strings.Contains(got, `"X-Note":["`+mask(key.Token)) {
		t.Errorf("got response_body %s", got)
	}
	if r["query"] != "limit=3&q=" || r["target"] != "/v1/customers?limit=3&q=***" {
		t.Errorf("got query %v and target %v", r["query"], r["target"])
	}

	resp, _ = do("POST", "/v1/customers", "application/x-www-form-urlencoded", "a=1&password=hunter2&card[number]=4242424242424242&x="+key.Token)
	if got := record(resp)["request_body"]; got != "a=1&password=***&card[number]=***&x="+mask(key.Token) {
		t.Errorf("got request_body %v", got)
	}
	resp, _ = do("POST", "/v1/customers", "application/json", `{"a":"`+strings.Repeat("x", 900)+`","b":"`+strings.Repeat("y", 900)+`","password":"hunter2"}`)
	if got := fmt.Sprint(record(resp)["request_body"]); !strings.HasPrefix(got, `{"a":"xxx`) || !strings.HasSuffix(got, "…") || len(got) > 1100 {
		t.Errorf("got request_body %s", got)
	}
	resp, _ = do("POST", "/v1/customers", "application/json", `password=hunter2`)
	if got := fmt.Sprint(record(resp)["request_body"]); !strings.HasPrefix(got, "[not kept: 16 bytes") {
		t.Errorf("got request_body %s", got)
	}
	resp, _ = do("POST", "/v1/customers", "image/png", "picture")
	if got := record(resp)["request_body"]; got != "[not kept: 7 bytes of image/png]" {
		t.Errorf("got request_body %v", got)
	}

	resp, _ = do("GET", "/v1/customers/packed", "", "", "Accept-Encoding", "gzip")
	r = record(resp)
	if r["error_message"] != "No such thing" || r["error_type"] != "https://api.example.com/errors/no" || !strings.Contains(fmt.Sprint(r["response_body"]), `"title":"No"`) {
		t.Errorf("got error %v %v, response_body %v", r["error_type"], r["error_message"], r["response_body"])
	}

	// The first piece of a stream comes while the backend still holds the second back.
	req, err := http.NewRequest("GET", "http://"+site+"/v1/customers/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Site-Key", key.Token)
	resp, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make(chan string, 1)
	go func() {
		piece := make([]byte, 100)
		n, _ := resp.Body.Read(piece)
		first <- string(piece[:n])
	}()
	select {
	case got := <-first:
		if !strings.HasPrefix(got, `{"n":1`) {
			t.Errorf("got the piece %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("the first piece of the stream does not come")
	}
	close(release)
	_, _ = io.Copy(io.Discard, resp.Body)
	if got := fmt.Sprint(record(resp)["response_body"]); !strings.HasPrefix(got, `{"n":1,"password":"***"}`) || !strings.Contains(got, `{"n":2}`) {
		t.Errorf("got response_body %s", got)
	}

	resp, text = do("GET", "/v1/customers/../x", "", "")
	if r = record(resp); resp.StatusCode != 400 || r["response_body"] != strings.TrimSpace(text) {
		t.Errorf("got %d, response_body %v, want %s", resp.StatusCode, r["response_body"], text)
	}
}
