package auth

import "context"

// callerKey is the key of the caller in the context of a call that is made in the process.
type callerKey struct{}

// WithCaller is a context for calls that a part of this process makes for somebody whom it has authenticated. Nothing from
// outside can put a caller into a context.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom is the caller of such a call, nil if it is none.
func CallerFrom(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}

// Within is the caller with no more than what belongs to the account or the organization; give one of them. It asks nobody:
// who calls it has made sure that the caller covers it.
func (c *Caller) Within(account, organization string) *Caller {
	narrow := *c
	narrow.Account, narrow.Organization, narrow.root = account, organization, false
	narrow.valid = c.Still
	return &narrow
}
