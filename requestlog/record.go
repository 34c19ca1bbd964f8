package requestlog

import (
	"net/netip"
	"time"
)

// Record is one request. Its text fields are plain strings: this package knows no type of the gateway. What each field means
// and how it is called outside (JSON, columns, CSV, filters) stands in one place, the table in schema.go.
//
// A record from [Log.NewRecord] belongs to the caller until [Log.Append], and to the log from then on. A record that the
// log hands out (lists, tails) belongs to who receives it. Texts that are parts of much larger ones: see Detach.
type Record struct {
	ID       string        // "req_…", see NewID; "gap_…" for a gap record
	Time     time.Time     // when the request began; kept in UTC, to the millisecond
	Duration time.Duration // whole, gateway and backend; kept to the microsecond
	Upstream time.Duration // spent in the next handler, 0 if it was never reached; kept to the microsecond

	Method string
	Path   string // as decided
	Target string // as received, query values redacted: RedactTarget
	Query  string // query keys only: RedactQuery
	Host   string
	Status int

	Decision           string // "allowed", "open", "preflight", or the error code; "gap" for a gap record
	RequiredPermission string // "charges_write"
	Key                string // "key_…"
	TokenMasked        string
	Kind, Mode         string
	Sandbox, Owner     string
	Account            string // the account acted on
	Resource, Access   string

	Client            netip.Addr
	UserAgent         string
	APIVersion        string
	IdempotencyKey    string
	BytesIn, BytesOut int64
	UpstreamAddress   string // the backend that answered
	Node              string // Options.Node if empty
	TLS, Protocol     string // "1.3", "HTTP/2.0"
	ErrorType         string // of the backend's JSON error body, or our own
	ErrorCode         string
	ErrorMessage      string
	SuccessorUsed     bool // the key presented is one that a rotation made

	// What was captured, where that is asked for: redacted, bounded. Headers are the text of a JSON object.
	RequestHeaders, ResponseHeaders string
	RequestBody, ResponseBody       string

	// Capture is what the four texts above are made of, by the log. It is nil in records that the log hands out.
	Capture *Capture

	// secret is the credential that the request presented, see Conceal. It is gone when the record is stored; behind a pointer,
	// it is not printed with the record.
	secret *string

	// Lost is 0 for a request. A gap record says that this many records, between LostFrom and LostTo, are missing.
	Lost             int64
	LostFrom, LostTo time.Time
}

// DecisionGap is the Decision of a gap record.
const DecisionGap = "gap"

// IsGap says whether the record stands for dropped records rather than for a request.
func (r *Record) IsGap() bool { return r.Lost > 0 }

// DecisionForeign is the decision on a key that named an account which it does not reach. What is refused so never was a
// request on that account: the name is only what a stranger wrote.
const DecisionForeign = "account_invalid"

// Concerns says whether the record is one of the account or organization with this id: it owns the key, or was acted on.
func (r *Record) Concerns(id string) bool {
	return id != "" && (r.Owner == id || r.Account == id && r.Decision != DecisionForeign)
}

// Conceal has the log hide a credential wherever else the request, or the answer to it, spells it out. It is for those that
// cannot be told from other text; ours are masked in any case. One too short to be a key is not looked for.
func (r *Record) Conceal(token string) {
	if len(token) >= minSecret {
		r.secret = &token
	}
}

// clone copies the record for a reader of its own. Strings are immutable, so that a shallow copy is enough.
func (r *Record) clone() *Record {
	c := *r
	c.Capture, c.secret = nil, nil
	return &c
}

// textBytes is how much text the record holds, beside what was captured.
func (r *Record) textBytes() int {
	n := -r.CapturedBytes()
	for _, c := range textColumns {
		n += len(*c.text(r))
	}
	return n
}
