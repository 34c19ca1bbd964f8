package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestRequestLogTuning: bounds, and where credentials may come from.
func TestRequestLogTuning(t *testing.T) {
	t.Setenv("KEYSTILE_TEST_OTLP", "hunter2")
	t.Setenv("KEYSTILE_TEST_LINES", "a\nb")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	header := func(value string) *RequestLogConfig {
		return &RequestLogConfig{OTLP: &OTLPConfig{Endpoint: "https://x", Headers: map[string]string{"X-Key": value}}}
	}
	for _, tt := range []struct {
		name   string
		config *RequestLogConfig
		header string
		err    string
	}{
		{name: "defaults", config: &RequestLogConfig{}},
		{name: "own", config: &RequestLogConfig{Retention: caddy.Duration(time.Hour), MaxSize: 1 << 20}},
		{name: "negative retention", config: &RequestLogConfig{Retention: -1}, err: "retention: -1ns"},
		{name: "endless retention", config: &RequestLogConfig{Retention: caddy.Duration(200 * 365 * 24 * time.Hour)}, err: "retention:"},
		{name: "negative size", config: &RequestLogConfig{MaxSize: -1}, err: "max_size: -1 bytes"},
		{name: "no endpoint", config: &RequestLogConfig{OTLP: &OTLPConfig{}}, err: "otlp: the endpoint must be an address"},
		{name: "in clear", config: &RequestLogConfig{OTLP: &OTLPConfig{Endpoint: "http://collector:4318"}}, err: "otlp: http://collector:4318 is not encrypted"},
		{name: "from the environment", config: header("{env.KEYSTILE_TEST_OTLP}"), header: "hunter2"},
		{name: "with a scheme", config: header("Bearer {env.KEYSTILE_TEST_OTLP}"), header: "Bearer hunter2"},
		{name: "from a file", config: header("{file." + secret + "}"), header: "from-file"},
		{name: "literal", config: header("hunter2"), err: "must be a placeholder"},
		{name: "half a literal", config: header("hunter2{env.KEYSTILE_TEST_OTLP}"), err: "must be a placeholder"},
		{name: "a literal behind", config: header("{env.KEYSTILE_TEST_OTLP}hunter2"), err: "must be a placeholder"},
		{name: "other placeholder", config: header("{system.hostname}"), err: "must be a placeholder"},
		{name: "not set", config: header("{env.KEYSTILE_TEST_NONE}"), err: "X-Key"},
		{name: "two lines", config: header("{env.KEYSTILE_TEST_LINES}"), err: "is no header value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.config.tuning(caddy.NewReplacer())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "hunter2") && !strings.Contains(tt.name, "literal") {
					t.Errorf("error %v, want it to say %q and no secret", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.header != "" && got.otlp.options.Headers["x-key"] != tt.header {
				t.Errorf("header %q, want %q", got.otlp.options.Headers["x-key"], tt.header)
			}
			if text := fmt.Sprintf("%v %+v %#v", got, got.otlp, got.otlp); strings.Contains(text, "hunter2") {
				t.Errorf("the tuning can be printed: %s", text)
			}
		})
	}
}
