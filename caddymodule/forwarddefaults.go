package caddymodule

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// What upstreams do unless they are told otherwise.
const (
	// forwardIdle is how many idle connections are kept to a backend. With 32, Caddy's default, a gateway with 128 requests
	// under way opens and closes connections all the time.
	forwardIdle = 1024
	// forwardFailTime is how long a backend that could not be reached is left out, if there are others.
	forwardFailTime = "10s"
	// maxForwardRetries bounds how many backends one request tries.
	maxForwardRetries = 3
)

// withForwardDefaults completes the configuration of a reverse_proxy; other handlers stay as they are.
func withForwardDefaults(raw json.RawMessage) (json.RawMessage, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(raw, &config); err != nil || string(config["handler"]) != `"reverse_proxy"` {
		return raw, nil //nolint:nilerr // loading the handler says what is wrong, in Caddy's words
	}
	if err := defaultTransport(config); err != nil {
		return nil, err
	}
	var upstreams []json.RawMessage
	if json.Unmarshal(config["upstreams"], &upstreams) == nil && len(upstreams) > 1 {
		if err := defaultFailover(config, len(upstreams)); err != nil {
			return nil, err
		}
	}
	return json.Marshal(config)
}

func defaultTransport(config map[string]json.RawMessage) error {
	transport := map[string]json.RawMessage{"protocol": json.RawMessage(`"http"`)}
	if given := config["transport"]; given != nil {
		transport = nil
		if err := json.Unmarshal(given, &transport); err != nil {
			return fmt.Errorf("transport: %w", err)
		}
	}
	if string(transport["protocol"]) != `"http"` {
		return nil
	}
	keep := make(map[string]json.RawMessage)
	if given := transport["keep_alive"]; given != nil {
		if err := json.Unmarshal(given, &keep); err != nil {
			return fmt.Errorf("keep_alive: %w", err)
		}
	}
	if keep["max_idle_conns_per_host"] == nil {
		keep["max_idle_conns_per_host"] = json.RawMessage(fmt.Sprint(forwardIdle))
	}
	if err := put(transport, "keep_alive", keep, nil); err != nil {
		return err
	}
	return put(config, "transport", transport, nil)
}

// defaultFailover makes one backend stand in for another. Whoever has said anything on either half keeps his own word.
func defaultFailover(config map[string]json.RawMessage, backends int) error {
	balancing := make(map[string]json.RawMessage)
	if given := config["load_balancing"]; given != nil {
		if err := json.Unmarshal(given, &balancing); err != nil {
			return fmt.Errorf("load_balancing: %w", err)
		}
	}
	var err error
	if balancing["retries"] == nil && balancing["try_duration"] == nil {
		balancing["retries"] = json.RawMessage(fmt.Sprint(min(backends-1, maxForwardRetries)))
		err = put(config, "load_balancing", balancing, err)
	}
	checks := make(map[string]json.RawMessage)
	if given := config["health_checks"]; given != nil {
		if err := json.Unmarshal(given, &checks); err != nil {
			return fmt.Errorf("health_checks: %w", err)
		}
	}
	if checks["passive"] == nil {
		checks["passive"] = json.RawMessage(`{"fail_duration":"` + forwardFailTime + `"}`)
		err = put(config, "health_checks", checks, err)
	}
	return err
}

// put sets a field, unless there was an error before.
func put(config map[string]json.RawMessage, field string, value any, before error) error {
	if before != nil {
		return before
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	config[field] = text
	return nil
}

// shortWayFits says whether a proxy does nothing that the short way does not know. What is not named here is not known: an
// option of a later Caddy that is set makes the proxy's fields differ, but only those named are looked at, so that each
// update of Caddy must compare this list with the fields of its Handler; a test counts them.
func shortWayFits(p *reverseproxy.Handler) bool {
	if p.DynamicUpstreams != nil || p.CB != nil || len(p.TrustedProxies) > 0 || p.Rewrite != nil || len(p.HandleResponse) > 0 ||
		p.RequestBuffers != 0 || p.ResponseBuffers != 0 || p.ProxyStatusName != "" || p.VerboseLogs || p.FlushInterval > 0 {
		return false
	}
	if h := p.HealthChecks; h != nil && h.Passive != nil {
		// These look at every answer.
		if q := h.Passive; q.UnhealthyRequestCount != 0 || len(q.UnhealthyStatus) > 0 || q.UnhealthyLatency != 0 {
			return false
		}
	}
	if p.Headers != nil && p.Headers.Response != nil && p.Headers.Response.Require != nil {
		return false
	}
	if len(p.LoadBalancing.RetryMatch) > 0 {
		return false
	}
	switch p.LoadBalancing.SelectionPolicy.(type) {
	case reverseproxy.RandomSelection, *reverseproxy.RandomSelection, *reverseproxy.RoundRobinSelection,
		*reverseproxy.WeightedRoundRobinSelection, *reverseproxy.FirstSelection, reverseproxy.FirstSelection,
		*reverseproxy.IPHashSelection, *reverseproxy.ClientIPHashSelection, *reverseproxy.URIHashSelection:
	default:
		return false // they count requests, or write cookies
	}
	return len(p.Upstreams) > 0
}

// plainTransport says whether the proxy's transport is HTTP/1.1 over connections without anything special.
func plainTransport(p *reverseproxy.Handler) (*reverseproxy.HTTPTransport, bool) {
	t, ok := p.Transport.(*reverseproxy.HTTPTransport)
	if !ok {
		return nil, false
	}
	http1 := false
	for _, version := range t.Versions {
		http1 = http1 || version == "1.1"
	}
	plain := http1 && t.TLS == nil && t.Resolver == nil && t.LocalAddress == "" && t.ProxyProtocol == "" && t.ForwardProxyURL == "" &&
		len(t.NetworkProxyRaw) == 0 && t.MaxConnsPerHost == 0 && t.ReadTimeout == 0 && t.WriteTimeout == 0 &&
		(t.Compression == nil || !*t.Compression) && t.KeepAlive != nil && (t.KeepAlive.Enabled == nil || *t.KeepAlive.Enabled)
	return t, plain
}
