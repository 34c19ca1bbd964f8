package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// call makes a call of the admin API, and decodes the answer.
func (s *soak) call(method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+s.gateway.admin+"/keystile"+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := s.client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		return err
	}
	if w.StatusCode != http.StatusOK {
		return &refusal{w.StatusCode, strings.TrimSpace(string(text))}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// refusal is an answer of the admin API that is none of success.
type refusal struct {
	status int
	body   string
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.body) }

// seen is a key as the API tells it.
type seen struct {
	ID       string   `json:"id"`
	Token    string   `json:"token"`
	Status   string   `json:"status"`
	IPRanges []string `json:"ip_ranges"`
	Rotation struct {
		Successor string `json:"successor"`
	} `json:"rotation"`
}

// is answers the state of the key that was seen.
func (k *seen) is() state {
	switch {
	case k.Status == "deleted" || k.Status == "expired":
		return gone
	case len(k.IPRanges) > 0:
		return limited
	}
	return active
}

// ask sends one request with a token.
func (s *soak) ask(client *http.Client, site, token string) (status int, code, requestID string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+site+"/v1/charges", nil)
	if err != nil {
		return 0, "", "", err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	w, err := client.Do(r)
	if err != nil {
		return 0, "", "", err
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		return 0, "", "", err
	}
	var e struct {
		Error struct{ Code string }
	}
	if w.StatusCode != http.StatusOK {
		_ = json.Unmarshal(text, &e)
	}
	return w.StatusCode, e.Error.Code, w.Header.Get("Request-Id"), nil
}

// recorded answers the ids of all records since a time.
func (s *soak) recorded(since time.Time) (map[string]bool, error) {
	ids := make(map[string]bool)
	query := url.Values{"format": {"jsonl"}, "since": {since.UTC().Format(time.RFC3339Nano)}}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.gateway.admin+"/keystile/v1/request_logs/export?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	w, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	if w.StatusCode != http.StatusOK {
		return nil, errors.New("the export answers " + w.Status)
	}
	lines := bufio.NewScanner(w.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var record struct{ ID string }
		if err := json.Unmarshal(lines.Bytes(), &record); err != nil {
			return nil, err
		}
		ids[record.ID] = true
	}
	return ids, lines.Err()
}
