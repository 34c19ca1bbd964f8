package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
	"github.com/keystile/keystile/requestlog"
)

// KeyUser is somebody who uses a key, as request records tell them apart: by address and user agent.
type KeyUser struct {
	ClientAddress *string   `json:"client_address" doc:"null: not known"`
	UserAgent     string    `json:"user_agent"`
	LastUsedAt    time.Time `json:"last_used_at"`
	Requests      int       `json:"requests" doc:"How many, in the time and among the records that were looked at"`
}

// KeyUsage is who uses a key.
type KeyUsage struct {
	Object     string     `json:"object" enum:"key_usage"`
	Key        string     `json:"key"`
	LastUsedAt *time.Time `json:"last_used_at" doc:"Within a minute; null: never used"`
	LastUsedIP *string    `json:"last_used_ip"`
	Since      time.Time  `json:"since" doc:"From when on request records were looked at"`
	Users      []KeyUser  `json:"users" nullable:"false" doc:"The latest first, at most 100"`
	Complete   bool       `json:"complete" doc:"false: there are more records or users than one call looks at; these are the latest"`

	Summary *KeySummary `json:"summary,omitempty" doc:"What the request records of the key tell, whatever since is; absent: that could not be read in time"`
}

// KeySummary is what a key did, denied requests included.
type KeySummary struct {
	Requests    int64      `json:"requests" doc:"Records of the key: all that are kept, and perhaps some that retention has deleted since they were counted"`
	Errors      int64      `json:"errors" doc:"Those with a status from 400 on"`
	FirstSeenAt *time.Time `json:"first_seen_at" doc:"When the oldest of the requests began; null: there is none"`
	LastSeenAt  *time.Time `json:"last_seen_at" doc:"When the newest began"`
	Addresses   []KeySeen  `json:"addresses" nullable:"false" doc:"Of clients: the 20 seen last, the latest first"`
	UserAgents  []KeySeen  `json:"user_agents" nullable:"false" doc:"In the same way"`
	Resources   []KeySeen  `json:"resources" nullable:"false" doc:"Of the catalog, in the same way"`
}

// KeySeen is one value that a key was seen with.
type KeySeen struct {
	Value      string    `json:"value"`
	Requests   int64     `json:"requests" doc:"Since the value came on the list: one that fell off it and comes back begins anew"`
	LastSeenAt time.Time `json:"last_seen_at"`
}

type keyUsageInput struct {
	ID    string `path:"id" doc:"key_…"`
	Since string `query:"since" default:"1h" maxLength:"64" doc:"Look at records from this time on: RFC 3339, or a duration back from now such as 24h"`
}

// KeyRotationEnd is the body that ends a rotation.
type KeyRotationEnd struct {
	Force Optional[bool] `json:"force,omitzero" doc:"Also if the old key was used within the last hour"`
}

type endRotationInput struct {
	ID   string `path:"id" doc:"key_… of the old key, the one that is ending"`
	Wait string `query:"wait" enum:"fleet,node" default:"fleet" doc:"fleet: answer when every live node has applied it; node: when this one has"`
	Body KeyRotationEnd
}

func (a *API) registerKeyUsage() {
	const tag = "keys"
	handle(a, operation{
		method: http.MethodGet, path: "/v1/keys/{id}/usage", id: "get_key_usage", tag: tag, summary: "Who uses a key",
		description: "Users are told apart by address and user agent, from the request records since a time. Requests from outside the key's IP ranges, and those after its end, are not use, and make no user. " +
			"The summary counts every record of the key, denied requests included.",
	}, a.keyUsage)
	handle(a, operation{
		method: http.MethodPost, path: "/v1/keys/{id}/rotation/end", id: "end_key_rotation", tag: tag, summary: "End a rotation's overlap early", etag: true,
		description: "Ends the old key now and answers it. If it was used within the last hour this is refused with key_in_use and a list of who uses it, unless force is true.",
	}, a.endRotation)
}

func (a *API) keyUsage(c *call, in *keyUsageInput) (KeyUsage, error) {
	if _, ok := a.Store.Snapshot().Key(in.ID); !ok {
		return KeyUsage{}, notFound("key", in.ID)
	}
	filter, err := requestlog.ParseFilter(map[string][]string{"since": {in.Since}}, c.now)
	if err != nil {
		return KeyUsage{}, err
	}
	a.flushLog(c.ctx)
	out := KeyUsage{Object: "key_usage", Key: in.ID, Since: *stamp(filter.Since)}
	if out.Users, out.Complete, err = a.keyUsers(c.ctx, in.ID, filter.Since); err != nil {
		return KeyUsage{}, err
	}
	if out.Summary, err = a.keySummary(c.ctx, in.ID); err != nil {
		return KeyUsage{}, err
	}
	if usage, ok := a.Store.LastUsed(in.ID); ok && !usage.At.IsZero() {
		out.LastUsedAt = stamp(usage.At)
		if usage.Address.IsValid() {
			out.LastUsedIP = some(usage.Address.String())
		}
	}
	return out, nil
}

// keySummary asks the log, which keeps it up. nil: it takes too long.
func (a *API) keySummary(ctx context.Context, id string) (*KeySummary, error) {
	limited, cancel := context.WithTimeout(ctx, usersTime)
	defer cancel()
	s, err := a.Log.KeySummary(limited, id)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil, nil //nolint:nilnil // the answer is that there is none in time
	case err != nil:
		return nil, err
	}
	return &KeySummary{
		Requests: s.Requests, Errors: s.Errors, FirstSeenAt: stamp(s.FirstSeen), LastSeenAt: stamp(s.LastSeen),
		Addresses: viewSeen(s.Addresses), UserAgents: viewSeen(s.UserAgents), Resources: viewSeen(s.Resources),
	}, nil
}

func viewSeen(list []requestlog.Seen) []KeySeen {
	out := make([]KeySeen, 0, len(list))
	for _, s := range list {
		out = append(out, KeySeen{Value: s.Value, Requests: s.Requests, LastSeenAt: *stamp(s.LastSeen)})
	}
	return out
}

func (a *API) endRotation(c *call, in *endRotationInput) (Key, error) {
	if !in.Body.Force.Value {
		a.flushLog(c.ctx) // a key's last use is told by the log
	}
	ctx, cancel := c.commit()
	defer cancel()
	k, err := a.Store.EndRotation(ctx, c.actor, in.ID, keystore.EndRotationParams{Force: in.Body.Force.Value})
	if err != nil {
		return Key{}, a.namingUsers(c, in.ID, err)
	}
	out := c.viewChanged(k)
	out.Nodes = a.appliedNodes(c, k.Revision, in.Wait)
	return out, nil
}

// namingUsers adds to the refusal to end a key in use who uses it. If the records cannot be read, the refusal stands
// without them.
func (a *API) namingUsers(c *call, id string, err error) error {
	if keystore.CodeOf(err) != keystore.CodeKeyInUse {
		return err
	}
	e, _ := asError(err)
	if users, _, listErr := a.keyUsers(c.ctx, id, c.now.Add(-keystore.InUseWindow)); listErr == nil {
		e.Users = users
	}
	return e
}

// The bounds of looking for who uses a key.
const (
	usersPages = 20 // of requestlog.MaxLimit records
	usersTime  = 3 * time.Second
	usersMost  = 100
	flushTime  = time.Second
)

// flushLog makes the records of what was answered before readable, if that is done soon.
func (a *API) flushLog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	_ = a.Log.Flush(ctx) // the records that are there are the answer otherwise
}

// keyUsers lists who has used a key since a time, the latest first. complete is false if the bounds were reached.
func (a *API) keyUsers(ctx context.Context, id string, since time.Time) (users []KeyUser, complete bool, err error) {
	limited, cancel := context.WithTimeout(ctx, usersTime)
	defer cancel()
	type who struct{ address, agent string }
	at := make(map[who]int) // → place in users
	users = []KeyUser{}
	complete = true
	filter, cursor := requestlog.Filter{Key: id, Since: since}, ""
	for page := 0; ; page++ {
		if page == usersPages {
			complete = false
			break
		}
		found, err := a.Log.List(limited, filter, requestlog.MaxLimit, cursor)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			complete = false
			break
		}
		if err != nil {
			return nil, false, err
		}
		for _, r := range found.Records {
			if r.IsGap() || !policy.CountsAsUse(r.Decision) {
				continue
			}
			u := who{agent: r.UserAgent}
			if r.Client.IsValid() {
				u.address = r.Client.String()
			}
			i, known := at[u]
			switch {
			case !known && len(users) == usersMost:
				complete = false
				continue
			case !known:
				i = len(users)
				at[u] = i
				users = append(users, KeyUser{ClientAddress: some(u.address), UserAgent: u.agent, LastUsedAt: *stamp(r.Time)})
			}
			users[i].Requests++
			if r.Time.After(users[i].LastUsedAt) { // records come in the order in which requests ended
				users[i].LastUsedAt = *stamp(r.Time)
			}
		}
		if !found.More {
			break
		}
		cursor = found.Next
	}
	slices.SortStableFunc(users, func(a, b KeyUser) int { return cmp.Compare(b.LastUsedAt.UnixMilli(), a.LastUsedAt.UnixMilli()) })
	return users, complete, nil
}
