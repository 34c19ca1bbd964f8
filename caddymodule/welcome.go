package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/keystile/keystile/admin/auth"
	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/policy"
)

// welcome makes the demo account in a store that has never held anything, and prints its sandbox secret key with a curl
// line that works. It prints to standard output and not to the log: logs are kept and shipped, a key is neither for.
// The key is a sandbox key, which can be shown any number of times. On later starts it does nothing.
func (a *App) welcome(g *gate) error {
	empty, err := emptyStore(g.store.Snapshot())
	if err != nil || !empty {
		return err
	}
	ctx, actor := context.Background(), keystore.Actor{Kind: "system", Name: "first start"}
	// Of several nodes that start on one new store, one makes it. Nobody gives the claim back: the others come within
	// seconds, or find the account.
	if first, err := g.store.ClaimAnswer(ctx, "first start", "demo account"); err != nil || !first {
		return err
	}
	account, keys, err := g.store.CreateAccount(ctx, actor, keystore.AccountParams{Name: "Demo account"})
	if err != nil {
		return fmt.Errorf("making the demo account: %w", err)
	}
	for _, key := range keys {
		if key.Kind != policy.KindSecret || key.Mode != policy.ModeSandbox {
			continue
		}
		_, token, err := g.store.RevealKey(ctx, actor, key.ID)
		if err != nil {
			return fmt.Errorf("revealing the demo account's sandbox key: %w", err)
		}
		link, err := a.firstOwner(ctx, g, actor)
		if err != nil {
			return err
		}
		return printWelcome(a.run.stdout, account.ID, token, a.demoURL(), link)
	}
	return errors.New("the demo account has no sandbox secret key")
}

func emptyStore(snapshot *keystore.Snapshot) (bool, error) {
	accounts, _, err := snapshot.Accounts("", keystore.Page{Limit: 1})
	if err != nil {
		return false, fmt.Errorf("listing accounts: %w", err)
	}
	organizations, _, err := snapshot.Organizations(keystore.Page{Limit: 1})
	if err != nil {
		return false, fmt.Errorf("listing organizations: %w", err)
	}
	return len(accounts) == 0 && len(organizations) == 0, nil
}

// firstOwner invites the first owner, and answers the link. It is none if no site has a dashboard: `keystile member invite
// --owner` makes another at any time.
func (a *App) firstOwner(ctx context.Context, g *gate, actor keystore.Actor) (policy.Token, error) {
	url := a.adminURL()
	if url == "" {
		return policy.Token{}, nil
	}
	_, token, err := g.store.InviteMember(ctx, actor, keystore.MemberParams{Grants: []keystore.Grant{{Role: keystore.RoleOwner}}}, auth.InvitationLifetime)
	if err != nil {
		return policy.Token{}, fmt.Errorf("inviting the first owner: %w", err)
	}
	return policy.TokenFrom(auth.InvitationLink(url, token)), nil
}

func printWelcome(w io.Writer, account string, token policy.Token, url string, link policy.Token) error {
	var b strings.Builder
	b.WriteString("\nKeystile made a new key store, and in it a demo account with four keys.\n\n")
	fmt.Fprintf(&b, "  Account             %s\n", account)
	fmt.Fprintf(&b, "  Sandbox secret key  %s\n\n", token.Reveal())
	if url != "" {
		insecure := ""
		if strings.HasPrefix(url, "https://localhost") {
			insecure = "-k " // Caddy's own certificate authority, which curl may not know
		}
		fmt.Fprintf(&b, "Try it:\n\n  curl %s%s -u %s:\n\n", insecure, url, token.Reveal())
	}
	fmt.Fprintf(&b, "See all of its keys:\n\n  keystile key list --account %s\n\n", account)
	if !link.IsZero() {
		fmt.Fprintf(&b, "Become the owner of this installation. The link opens once, within 24 hours;\nkeystile member invite --owner makes another:\n\n  %s\n\n", link.Reveal())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// demoURL is a URL that the demo account's sandbox key may get: at the first site that serves sandbox keys, by a route of
// the catalog that takes no parameters. It is "" if no server of the HTTP app has the directive.
func (a *App) demoURL() string {
	for _, s := range a.allSites() {
		if s.server == nil || !s.handler.siteRules().Sandbox {
			continue
		}
		if base := s.baseURL(a.httpsPort()); base != "" {
			return base + demoPath(a.run.settings.catalog)
		}
	}
	return ""
}

// demoPath is the first path of the catalog that can be asked for as it stands, preferring a list over a single thing.
func demoPath(catalog *policy.Catalog) string {
	for _, resource := range catalog.Resources() {
		for _, route := range resource.Routes {
			if route.Method == http.MethodGet && !strings.ContainsAny(route.Pattern, "{*") {
				return route.Pattern
			}
		}
	}
	return "/" // a secret key may call what the catalog does not know
}

func (a *App) httpsPort() int {
	if value, err := a.run.ctx.AppIfConfigured("http"); err == nil {
		if port := value.(*caddyhttp.App).HTTPSPort; port != 0 {
			return port
		}
	}
	return caddyhttp.DefaultHTTPSPort
}

// baseURL is where a client on this machine finds the site, "" if nothing that curl can name.
func (s site) baseURL(httpsPort int) string {
	for _, listen := range s.server.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil || address.IsUnixNetwork() || address.IsFdNetwork() || address.StartPort == 0 {
			continue
		}
		port := int(address.StartPort)
		scheme, usual := "http", caddyhttp.DefaultHTTPPort
		if len(s.server.TLSConnPolicies) > 0 || port == httpsPort {
			scheme, usual = "https", caddyhttp.DefaultHTTPSPort
		}
		host := "localhost"
		for _, h := range s.hosts {
			if !strings.ContainsAny(h, "*{") {
				host = h
				break
			}
		}
		if len(s.hosts) == 0 && address.Host != "" && !isUnspecified(address.Host) {
			host = address.Host
		}
		if port != usual {
			return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
		}
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return ""
}

func isUnspecified(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsUnspecified()
}
