package auth

import (
	"context"
	"net/netip"
)

// Client is what the mounting side knows of the connection that a request came by.
type Client struct {
	Address netip.Addr // of the client, behind trusted proxies too; the zero value: not known
	Secure  bool       // the client speaks TLS, to us or to a trusted proxy
	Prefix  string     // what was taken off the path before the API's own: "/keys" inside `handle_path /keys/*`
}

type (
	clientKey struct{}
	callerKey struct{}
)

// WithClient says by which connection a request came.
func WithClient(ctx context.Context, c Client) context.Context {
	return context.WithValue(ctx, clientKey{}, c)
}

// ClientFrom is what was said by [WithClient].
func ClientFrom(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// WithCaller says who makes a call that this process makes to its own API: the dashboard does so for the member whose
// session it has looked at, in the scope that its page is about. No header and no cookie can put a caller here.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom is what was said by [WithCaller], nil if nothing was.
func CallerFrom(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}
