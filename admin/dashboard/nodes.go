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

func (q *request) showNodes() error {
	p := &nodesPage{Page: q.page("Nodes", "nodes")}
	asked := url.Values{"limit": {"50"}}
	if after := q.query("after"); after != "" {
		asked.Set("starting_after", after)
	}
	list, err := ask[api.List[api.FleetNode]](q, get("/v1/nodes", asked))
	if err != nil {
		return err
	}
	if p.Rows = list.Data; list.HasMore {
		p.More = p.To(withQuery("/nodes", "after", list.Data[len(list.Data)-1].ID))
	}
	return q.show("nodes", p)
}
