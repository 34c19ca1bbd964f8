package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("keystile", parseHandler)
	// Before basic_auth: the directives that come earlier only set variables and headers, redirect, or rewrite the
	// request, which the decision must see; every directive that can serve data or reads an identity comes later.
	httpcaddyfile.RegisterDirectiveOrder("keystile", httpcaddyfile.Before, "basic_auth")
}

// parseHandler sets up the handler of the directive.
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	if err := handler.unmarshal(h.Dispenser, h.WithDispenser); err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	keystile [<matcher>] {
//		mode live|sandbox|any
//		open <path...>
//		upstreams {
//			live    <upstream...> [{ <reverse_proxy options> }]
//			sandbox <upstream...> [{ <reverse_proxy options> }]
//		}
//		rewrites     allowed
//		key_header   <name>
//		cors_origins *|<origin...>
//		sign         on|off
//		on_overload  drop|deny
//		capture {
//			request_headers  [<name...>|*]
//			response_headers [<name...>|*]
//			request_body     [<max size>]
//			response_body    [<max size>]
//			redact_header    <name...>
//			redact_field     <name...>
//			query            <name...>
//			only             errors|all
//		}
//		denials      json|handle_errors
//		doc_url      <address with {code}>
//	}
//
// open may be given several times; every other word once. What upstreams do otherwise than a reverse_proxy after the
// directive is told at [Upstreams].
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return h.unmarshal(d, nil)
}

// helperFor makes a directive helper over other tokens. Options of reverse_proxy that hold routes need one.
type helperFor func(*caddyfile.Dispenser) httpcaddyfile.Helper

func (h *Handler) unmarshal(d *caddyfile.Dispenser, helper helperFor) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		word := d.Val()
		if seen[word] && word != "open" {
			return d.Errf("duplicate subdirective %q", word)
		}
		seen[word] = true
		if err := h.unmarshalWord(d, word, helper); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalWord(d *caddyfile.Dispenser, word string, helper helperFor) error {
	switch word {
	case "mode":
		return oneWord(d, &h.Mode, "live", "sandbox", "any")
	case "sign":
		return parseOnOff(d, &h.Sign)
	case "on_overload":
		return oneWord(d, &h.OnOverload, "drop", "deny")
	case "denials":
		return oneWord(d, &h.Denials, "json", "handle_errors")
	case "rewrites":
		var word string
		if err := oneWord(d, &word, "allowed"); err != nil {
			return err
		}
		h.AllowRewrites = true
		return nil
	case "key_header":
		return oneWord(d, &h.KeyHeader)
	case "doc_url":
		return oneWord(d, &h.DocURL)
	case "open":
		paths := d.RemainingArgs()
		if len(paths) == 0 {
			return d.ArgErr()
		}
		h.Open = append(h.Open, paths...)
		return nil
	case "cors_origins":
		if h.CORSOrigins = d.RemainingArgs(); len(h.CORSOrigins) == 0 {
			return d.ArgErr()
		}
		return nil
	case "capture":
		return h.unmarshalCapture(d)
	case "upstreams":
		return h.unmarshalUpstreams(d, helper)
	default:
		return d.Errf("unrecognized subdirective %q", word)
	}
}

// unmarshalUpstreams reads the block of upstreams: each mode's line is that of a reverse_proxy.
func (h *Handler) unmarshalUpstreams(d *caddyfile.Dispenser, helper helperFor) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Upstreams = new(Upstreams)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var target *json.RawMessage
		switch mode := d.Val(); mode {
		case "live":
			target = &h.Upstreams.LiveRaw
		case "sandbox":
			target = &h.Upstreams.SandboxRaw
		default:
			return d.Errf("unrecognized mode %q: upstreams are for live and for sandbox", mode)
		}
		if *target != nil {
			return d.Errf("duplicate upstreams for %q", d.Val())
		}
		proxy, err := parseProxy(d.NewFromNextSegment(), helper)
		if err != nil {
			return err
		}
		*target = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
	}
	if h.Upstreams.LiveRaw == nil && h.Upstreams.SandboxRaw == nil {
		return d.Err("upstreams: none given; write live and sandbox lines")
	}
	return nil
}

// parseProxy reads one mode's line as a reverse_proxy directive.
func parseProxy(d *caddyfile.Dispenser, helper helperFor) (*reverseproxy.Handler, error) {
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if len(proxy.Upstreams) == 0 && proxy.DynamicUpstreamsRaw == nil {
		return nil, d.Errf("no upstream address given")
	}
	if helper != nil {
		if err := proxy.FinalizeUnmarshalCaddyfile(helper(d)); err != nil {
			return nil, err
		}
	}
	return proxy, nil
}

// oneWord reads exactly one argument, from the list if there is one.
func oneWord(d *caddyfile.Dispenser, target *string, known ...string) error {
	name := d.Val()
	if !d.NextArg() {
		return d.ArgErr()
	}
	*target = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	if len(known) > 0 {
		if err := oneOf(name, *target, known...); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
