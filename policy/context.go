package policy

import "strings"

// maxHops bounds a context path.
const maxHops = 8

// maxAccountLength bounds an account id. Ours have 16 to 24 characters behind the prefix; a shorter or longer one is no
// error of spelling but an account that does not exist.
const maxAccountLength = 64

// accountPath is a context path: the accounts from the key's owner down to the one acted on. It owns no memory.
type accountPath struct {
	hops [maxHops]string
	n    int
}

func (p *accountPath) last() string { return p.hops[p.n-1] }

// parse reads "acct_…/acct_…": 1 to 8 account ids.
func (p *accountPath) parse(s string) bool {
	for more := true; more; {
		var hop string
		hop, s, more = strings.Cut(s, "/")
		if p.n == maxHops || !isAccountID(hop) {
			return false
		}
		p.hops[p.n] = hop
		p.n++
	}
	return true
}

// isAccountID says whether s is spelled like an account id: "acct_" and base62 characters.
func isAccountID(s string) bool {
	const prefix = "acct_"
	return len(s) > len(prefix) && len(s) <= maxAccountLength && strings.HasPrefix(s, prefix) && isBase62(s[len(prefix):])
}

// repeats says whether an account comes twice.
func (p *accountPath) repeats() bool {
	for i := 1; i < p.n; i++ {
		for j := range i {
			if p.hops[i] == p.hops[j] {
				return true
			}
		}
	}
	return false
}

// target is the account that a request acts on.
type target struct {
	account   string
	connected bool
}

// resolve finds the account acted on: row 7 of the order of checks. The returned reason is ReasonNone if there is one;
// param is the header at fault otherwise. An organization key without context does not come here: that is row 6.
func (r *Rules) resolve(p *Principal, q *Request, dir Directory) (t target, reason Reason, param string) {
	organization := p.Kind == KindOrganization
	var path accountPath
	switch {
	case q.ContextCount == 0 && q.AccountCount == 0:
		if organization || p.Owner == "" {
			return target{}, ReasonContextInvalid, r.contextHeader() // fail closed
		}
		return target{account: p.Owner}, ReasonNone, ""
	case q.ContextCount > 1:
		return target{}, ReasonContextInvalid, r.contextHeader()
	case q.AccountCount > 1 || q.AccountCount == 1 && !isAccountID(q.Account):
		return target{}, ReasonContextInvalid, r.accountHeader()
	case q.ContextCount == 1 && q.AccountCount == 1 && q.Context != q.Account:
		// Two targets: whichever we chose, some part of the client meant the other one.
		return target{}, ReasonContextInvalid, r.contextHeader()
	case q.ContextCount == 0:
		param = r.accountHeader()
		path.hops[0], path.n = q.Account, 1
	default:
		param = r.contextHeader()
		if !path.parse(q.Context) {
			return target{}, ReasonContextInvalid, param
		}
	}
	if !organization && path.n == 1 && path.hops[0] == p.Owner {
		return target{account: p.Owner}, ReasonNone, ""
	}
	if dir == nil || !r.reachable(p, &path, dir) {
		return target{account: path.last()}, ReasonAccountInvalid, param // fail closed
	}
	return target{account: path.last(), connected: !organization || path.n > 1}, ReasonNone, ""
}

// reachable checks each hop against what the store knows now. A path that comes back to an account, or to the key's own, is
// refused: over a circle of connections a key limited on its own account would act there with the rights of a guest.
func (r *Rules) reachable(p *Principal, path *accountPath, dir Directory) bool {
	if path.repeats() {
		return false
	}
	parent, hops := p.Owner, path.hops[:path.n]
	if p.Kind == KindOrganization {
		if !dir.MemberOf(hops[0], p.Owner) {
			return false
		}
		parent, hops = hops[0], hops[1:]
	}
	for _, hop := range hops {
		if hop == p.Owner || !dir.Connected(parent, hop) {
			return false
		}
		parent = hop
	}
	return true
}

// rights are what a key may do in the account acted on: the smaller of both sets. nil stands for everything.
type rights struct{ a, b *Permissions }

var noPermissions = NewPermissions(nil)

// rightsOn says what the key may do there. Only a key of a kind that may be unrestricted is so without a list.
func (p *Principal) rightsOn(connected bool) rights {
	own, guest := p.Permissions, p.ConnectedPermissions
	if p.Kind == KindRestricted && own == nil {
		own = noPermissions // fail closed
	}
	switch {
	case !connected:
		return rights{a: own}
	case guest == nil && own != nil:
		return rights{a: noPermissions} // a key with a list reaches connected accounts only by a list for them
	case p.Kind == KindOrganization:
		return rights{a: own, b: guest}
	}
	return rights{a: guest}
}

func (r rights) unrestricted() bool { return r.a == nil && r.b == nil }

func (r rights) on(resource string) Access { return min(r.a.Get(resource), r.b.Get(resource)) }
