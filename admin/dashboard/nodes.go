package dashboard

import (
	"net/url"

	"github.com/keystile/keystile/admin/api"
)

func nodePages() []route {
	return []route{{"GET /nodes", "list_nodes", (*request).showNodes}}
}

// nodesPage lists the gateways that share the key store.
type nodesPage struct {
	Page
	Rows []api.FleetNode
	More string
}

// shrink leaves rows to the next page.
func (p *nodesPage) shrink() bool { return moreAfter(&p.Rows, &p.More, p.next) }

func (p *nodesPage) next(n api.FleetNode) string { return p.To(withQuery("/nodes", "after", n.ID)) }

// Alone says that the store is this gateway's own: then nothing is written down of when it started.
func (p *nodesPage) Alone() bool {
	return len(p.Rows) == 1 && p.Rows[0].Self && p.Rows[0].StartedAt == nil
}

func (q *request) showNodes() error {
	p := &nodesPage{Page: q.page("Nodes", "nodes")}
	asked := url.Values{"limit": {"25"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.FleetNode]](q, get("/v1/nodes", asked))
	if err != nil {
		return err
	}
	if p.Rows = list.Data; list.HasMore {
		p.More = p.next(list.Data[len(list.Data)-1])
	}
	return q.show("nodes", p)
}
