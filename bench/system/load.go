package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

//go:embed load.lua
var loadScript string

// driven is what wrk says of a run.
type driven struct {
	requests      int64
	seconds       float64
	p50, p99      float64 // milliseconds
	refused, lost int64   // answers from 400 up; requests without an answer
}

// drive puts the scenario's load on the subject: as much as it takes, by wrk, or at a fixed rate.
func drive(s *scenario, p *prepared, keyless bool, duration time.Duration) (*driven, error) {
	if s.rate > 0 {
		return drivePaced(s, p, keyless, duration)
	}
	script := p.requests + ".lua"
	if err := os.WriteFile(script, []byte(loadScript), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("wrk", "-t2", fmt.Sprintf("-c%d", s.connections), fmt.Sprintf("-d%ds", max(1, int(duration.Seconds()))), "-s", script, "http://"+siteAddress)
	cmd.Env = append(os.Environ(), "BENCH_REQUESTS="+p.requests)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("wrk (Debian's package of that name): %w\n%s", err, out)
	}
	_, line, found := strings.Cut(string(out), "RESULT ")
	d := new(driven)
	var microseconds, p50, p99 float64
	if _, err := fmt.Sscan(line, &d.requests, &microseconds, &p50, &p99, &d.refused, &d.lost); !found || err != nil {
		return nil, fmt.Errorf("wrk said nothing that can be read: %s", out)
	}
	d.seconds, d.p50, d.p99 = microseconds/1e6, p50/1e3, p99/1e3
	return d, d.check(s, keyless)
}

// check demands an answer to every request, and a good one where every key is good.
func (d *driven) check(s *scenario, keyless bool) error {
	switch share := float64(d.refused) / float64(max(d.requests, 1)); {
	case d.requests == 0 || d.lost > 0:
		return fmt.Errorf("%d requests, %d without an answer", d.requests, d.lost)
	case s.bad == 0 && d.refused > 0:
		return fmt.Errorf("%d of %d requests were refused", d.refused, d.requests)
	case s.bad > 0 && !keyless && (share*100 < float64(s.bad)/2 || share*100 > float64(s.bad)*2):
		return fmt.Errorf("%.1f %% of the requests were refused, want about %d %%", share*100, s.bad)
	}
	return nil
}

// churn makes ten keys and revokes ten each second, until the context ends.
func churn(ctx context.Context, account string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var key struct{ ID string }
		err := admin(ctx, "POST", "/v1/keys", map[string]any{"account": account, "mode": "live", "kind": "restricted", "name": "churn", "permissions": map[string]string{"charge": "read"}}, &key)
		if err == nil {
			err = admin(ctx, "DELETE", "/v1/keys/"+key.ID, nil, nil)
		}
		if err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "churn:", err)
			return
		}
	}
}

func admin(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+adminAddress+"/keystile"+path, &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return errors.New(method + " " + path + ": " + res.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}
