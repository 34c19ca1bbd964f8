package command

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/keystile/keystile/admin/api"
	"github.com/keystile/keystile/requestlog"
)

func logCommand() caddycmd.Command {
	return group("log", "Reads the request log", `
Reads the request log: one record for every request that reached the gateway,
allowed or not. Records name keys by id and mask, never by token.`,
		logList, logShow, logTail, logExport, logStats)
}

// logFilters are the flags of a log query that go to the API as they are, by their description.
var logFilters = []struct{ name, usage string }{
	{"key", "Id of the `KEY`"},
	{"account", "Id of the `ACCOUNT` acted on"},
	{"owner", "`ID` of the account or organization that owns the key"},
	{"mode", "`MODE`: live or sandbox"},
	{"kind", "`KIND`: secret, publishable, restricted or organization"},
	{"sandbox", "Id of the `SANDBOX`"},
	{"status", "`STATUS` as 403, or a class of them as 4xx"},
	{"method", "`METHOD`, such as POST"},
	{"path", "A `PATH` and what is below it, or a glob with *"},
	{"host", "`HOST` of the request"},
	{"resource", "`RESOURCE` of the catalog"},
	{"access", "`ACCESS`: read or write"},
	{"decision", "`DECISION`: allowed, open, preflight, or the code of a refusal"},
	{"error-type", "Error `TYPE` that was answered"},
	{"error-code", "Error `CODE` that was answered"},
	{"client-address", "Client `ADDRESS` or CIDR range"},
	{"api-version", "API `VERSION` in force"},
	{"idempotency-key", "Idempotency `KEY`"},
	{"request-id", "`ID` of the request"},
	{"required-permission", "`PERMISSION` that the route needs, as charges_write"},
	{"upstream", "`BACKEND` that answered"},
	{"node", "`NODE` of the fleet"},
	{"protocol", "`PROTOCOL`, as HTTP/2.0"},
	{"tls", "TLS `VERSION`, as 1.3"},
	{"since", "Only requests since `TIME`, or how long ago, as 24h"},
	{"until", "Only requests before `TIME`, or how long ago"},
}

func addLogFilters(fs *pflag.FlagSet) {
	for _, filter := range logFilters {
		fs.String(filter.name, "", filter.usage)
	}
}

// logQuery makes the query parameters of the filters that were given. The server reads them: it knows the time, and says
// what is wrong by name.
func (c *call) logQuery() url.Values {
	query := make(url.Values)
	for _, filter := range logFilters {
		c.filter(query, filter.name)
	}
	return query
}

func logList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [filters]",
		Short: "Lists requests, newest first",
		Long:  `Lists requests, newest first. The filters can be combined.`,
		Example: `
  keystile log list --key key_3Jd8sVwQ0xTnB6Lm
  keystile log list --status 4xx --since 24h --all
  keystile log list --path '/v1/charges/*' --decision permission_denied --json`,
	}
	addLogFilters(cmd.Flags())
	addPaging(cmd.Flags())
	return leaf(cmd, nil, func(c *call) error {
		head := []string{"TIME", "ID", "STATUS", "DECISION", "KEY", "CLIENT", "MS", "REQUEST"}
		return list(c, pathTo("request_logs"), c.logQuery(), head, func(r *requestlog.Record) []string {
			return []string{
				stamp(r.Time), r.ID, strconv.Itoa(r.Status), r.Decision, r.Key, address(r.Client), milliseconds(r.Duration), requestLine(r),
			}
		})
	})
}

func logShow() *cobra.Command {
	return leaf(&cobra.Command{
		Use:   "show REQUEST",
		Short: "Shows one request",
		Long: `
Shows one request by the id that its answer carried in the Request-Id header, with
the decision in words, and what would allow the request if it was refused.`,
		Example: `  keystile log show req_0aXk3fLq9ZsT2mVb`,
	}, []string{"REQUEST"}, func(c *call) error {
		id, err := checkID("the argument", c.arg(0), "req_", "gap_")
		if err != nil {
			return err
		}
		answer, err := c.get(pathTo("request_logs", id), nil)
		if err != nil {
			return err
		}
		return show(c, answer, c.showRecord)
	})
}

// lostText says for what a gap record stands.
func lostText(r *requestlog.Record) string {
	if !r.IsGap() {
		return ""
	}
	return fmt.Sprintf("%d records from %s to %s", r.Lost, stamp(r.LostFrom), stamp(r.LostTo))
}

// requestLine is what was asked, for people.
func requestLine(r *requestlog.Record) string {
	if r.IsGap() {
		return strconv.FormatInt(r.Lost, 10) + " records lost"
	}
	path := r.Path
	if path == "" {
		path = r.Target // refused before there was a path to decide on
	}
	return strings.TrimSpace(r.Method + " " + path)
}

// stamp is the time of a record: to the millisecond, of fixed width.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func milliseconds(d time.Duration) string {
	return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64)
}

// address is an address, or nothing if it is unknown.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

func (c *call) showRecord(r *api.RequestLogDetail) error {
	upstream := ""
	if r.UpstreamAddress != "" || r.Upstream > 0 {
		upstream = strings.TrimSpace(r.UpstreamAddress + " " + milliseconds(r.Upstream) + " ms")
	}
	protocol := r.Protocol
	if r.TLS != "" {
		protocol += " TLS " + r.TLS
	}
	c.out.fields(
		field{"id", r.ID},
		field{"time", stamp(r.Time)},
		field{"request", requestLine(r.Record)},
		field{"target", r.Target},
		field{"query", r.Query},
		field{"host", r.Host},
		field{"status", strconv.Itoa(r.Status)},
		field{"decision", r.Decision},
		field{"explanation", r.Explanation},
		field{"required permission", r.RequiredPermission},
		field{"key", strings.TrimSpace(r.Key + " " + r.TokenMasked)},
		field{"kind", r.Kind},
		field{"mode", r.Mode},
		field{"owner", r.Owner},
		field{"account", r.Account},
		field{"sandbox", r.Sandbox},
		field{"resource", strings.TrimSpace(r.Resource + " " + r.Access)},
		field{"client", address(r.Client)},
		field{"user agent", r.UserAgent},
		field{"API version", r.APIVersion},
		field{"idempotency key", r.IdempotencyKey},
		field{"error", strings.TrimSpace(r.ErrorType + " " + r.ErrorCode)},
		field{"error message", r.ErrorMessage},
		field{"duration", milliseconds(r.Duration) + " ms"},
		field{"upstream", upstream},
		field{"bytes in, out", strconv.FormatInt(r.BytesIn, 10) + ", " + strconv.FormatInt(r.BytesOut, 10)},
		field{"protocol", protocol},
		field{"node", r.Node},
		field{"lost", lostText(r.Record)},
	)
	return nil
}
