package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// answerTimeout is how long one answer may take. Streams have no such bound.
	answerTimeout = 2 * time.Minute
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 256 << 20
)

// client talks to one running process.
//
// It does what caddycmd.AdminAPIRequest does, and is not built on it for three reasons: that function folds an error answer
// into a text (ours are JSON, and the code and the parameter are to be shown), it takes no context (a tail must end on a
// signal), and it knows no remote address.
type client struct {
	base   string // URL of the API's parent: …/keystile on an admin endpoint
	header http.Header
	http   *http.Client
	where  string // for messages: what the user would recognise
	local  bool   // Caddy's admin endpoint
}

// newAdminClient talks to Caddy's admin endpoint at address, in Caddy's spelling (host:port, unix//path).
func newAdminClient(address string) (*client, error) {
	parsed, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return nil, misuse("admin address %q: %v", address, err)
	}
	if parsed.PortRangeSize() > 1 {
		return nil, misuse("admin address %q: one port is wanted, not a range", address)
	}
	c := &client{where: address, local: true, header: make(http.Header)}
	if parsed.IsUnixNetwork() {
		// Caddy lets the permissions of the socket stand behind its path.
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|")
		// Any loopback name will do; the admin endpoint does not look at it on a socket.
		c.base = "http://127.0.0.1/keystile"
	} else {
		origin := "http://" + parsed.JoinHostPort(0)
		c.base = origin + "/keystile"
		// The admin endpoint checks this if enforce_origin is on, as with Caddy's own commands.
		c.header.Set("Origin", origin)
	}
	dialer := net.Dialer{Timeout: 10 * time.Second}
	network, target := parsed.Network, parsed.JoinHostPort(0)
	c.http = newHTTPClient(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, target)
		},
		DisableCompression: true, // the way is short
	})
	return c, nil
}

// newRemoteClient talks to a site with the keystile_admin directive, as an admin token's holder.
func newRemoteClient(address, token string) (*client, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, misuse("--url is no URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, misuse("--url %q: want https://HOST", address)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, misuse("--url: want https://HOST and perhaps a path, without user, query or fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		// Fail closed: the admin token would cross the network in clear.
		return nil, misuse("--url %q would send the admin token in clear: want https", address)
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("the HTTP transport was replaced")
	}
	return &client{
		base:   strings.TrimSuffix(u.String(), "/"),
		where:  u.Host,
		header: http.Header{"Authorization": {"Bearer " + token}},
		http:   newHTTPClient(transport.Clone()),
	}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// newHTTPClient never follows redirects: a POST would come out as a GET, and the token would go to wherever it is sent.
func newHTTPClient(transport *http.Transport) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// with is the client with one more header.
func (c *client) with(name, value string) *client {
	d := *c
	d.header = c.header.Clone()
	d.header.Set(name, value)
	return &d
}

// do sends one request and returns the body of a good answer. Another answer becomes an *apiError.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", c.where, err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s is larger than %d MiB", c.where, maxAnswer>>20)
	}
	return data, nil
}

// send sends one request and returns a good answer, whose body the caller closes.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	if body == nil {
		return c.upload(ctx, method, path, query, "", nil)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	return c.upload(ctx, method, path, query, "application/json", bytes.NewReader(data))
}

// upload is send with a body as it is, however long. nil: none.
func (c *client) upload(ctx context.Context, method, path string, query url.Values, media string, payload io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, payload)
	if err != nil {
		return nil, fmt.Errorf("writing the request: %w", err)
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "keystile-cli")
	if payload != nil {
		req.Header.Set("Content-Type", media)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		defer resp.Body.Close()
		data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what was read is what there is to show
		return nil, c.decodeError(resp.StatusCode, data)
	}
	return resp, nil
}

// unreachable words a failure to talk to the process.
func (c *client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("%s gave no answer within %s", c.where, answerTimeout)
		}
		return ctx.Err()
	}
	// The URL that net/http puts before its errors says nothing that c.where does not.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if !c.local {
		return fmt.Errorf("%s cannot be reached: %w", c.where, err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return &refusedError{where: c.where}
	}
	return fmt.Errorf("the admin endpoint at %s cannot be reached: %w", c.where, err)
}

// refusedError says that nobody listens at the admin endpoint.
type refusedError struct{ where string }

func (e *refusedError) Error() string {
	return fmt.Sprintf("nothing listens at %s: start the gateway with 'keystile run', or name its admin endpoint with --address "+
		"(or a remote one with --url)", e.where)
}
