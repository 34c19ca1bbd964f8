package keystore

import "time"

// DefaultSandboxName is the name of the sandbox that every account has and that cannot be deleted.
const DefaultSandboxName = "default"

// Sandbox is an isolated place of sandbox mode inside an account. It is a constant once stored.
type Sandbox struct {
	ID        string // sbx_…
	Account   string // acct_…
	Name      string // unique within its account, case-sensitive
	CreatedAt time.Time
	Revision  uint64 // of the commit that wrote it
}
