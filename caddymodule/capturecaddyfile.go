package caddymodule

import (
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// unmarshalCapture reads the block of captures. Syntax:
//
//	capture {
//		request_headers  [<name...>|*]
//		response_headers [<name...>|*]
//		request_body     [<max size>]
//		response_body    [<max size>]
//		redact_header    <name...>
//		redact_field     <name...>
//		query            <name...>
//		only             errors|all
//	}
//
// Headers without names are all headers; a body without a size is its first 4 KiB.
func (h *Handler) unmarshalCapture(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	c := new(CaptureConfig)
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if seen[word] {
			return d.Errf("duplicate capture option %q", word)
		}
		seen[word] = true
		if err := c.unmarshalWord(d, word); err != nil {
			return err
		}
		if err := refuseBlock(d, word); err != nil {
			return err
		}
	}
	if _, err := c.compile(h.KeyHeader); err != nil {
		return d.Errf("capture: %v", err)
	}
	h.Capture = c
	return nil
}

func (c *CaptureConfig) unmarshalWord(d *caddyfile.Dispenser, word string) error {
	names := func(target *[]string) error {
		if *target = d.RemainingArgs(); len(*target) == 0 {
			return d.ArgErr()
		}
		return nil
	}
	headers := func(target *[]string) error {
		if *target = d.RemainingArgs(); len(*target) == 0 {
			*target = []string{"*"}
		}
		return nil
	}
	body := func(target *int64) error {
		*target = defaultCapturedBody
		if !d.NextArg() {
			return nil
		}
		size, err := parseSize(d.Val())
		if err != nil || size == 0 {
			return d.Errf("%s: %q is no size; write it as 4KiB", word, d.Val())
		}
		*target = size
		if d.NextArg() {
			return d.ArgErr()
		}
		return nil
	}
	switch word {
	case "request_headers":
		return headers(&c.RequestHeaders)
	case "response_headers":
		return headers(&c.ResponseHeaders)
	case "request_body":
		return body(&c.RequestBody)
	case "response_body":
		return body(&c.ResponseBody)
	case "redact_header":
		return names(&c.RedactHeaders)
	case "redact_field":
		return names(&c.RedactFields)
	case "query":
		return names(&c.Query)
	case "only":
		return oneWord(d, &c.Only, "errors", "all")
	default:
		return d.Errf("unrecognized capture option %q", word)
	}
}

// parseSize reads a size such as 10GiB, 500MB or 4096.
func parseSize(text string) (int64, error) {
	size, err := humanize.ParseBytes(text)
	return int64(min(size, math.MaxInt64)), err
}
