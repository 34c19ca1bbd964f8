package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/keystile/keystile/keystore"
)

// The words of wait.
const (
	waitFleet = "fleet"
	waitNode  = "node"
)

// FleetNode is a node of the fleet, as it was last heard of.
type FleetNode struct {
	ID         string     `json:"id" doc:"Its name, as request records have it"`
	Object     string     `json:"object" enum:"node"`
	Self       bool       `json:"self" doc:"It is the one that answers"`
	Status     string     `json:"status" enum:"live,stale,silent" doc:"live: it was heard of within the last seconds; silent: it was not; stale: it answers, but is cut off from the store and accepts no keys"`
	Version    string     `json:"version" doc:"Of the program"`
	Revision   uint64     `json:"revision" doc:"The newest change in force there"`
	Behind     uint64     `json:"behind" doc:"How many changes are in force or stored elsewhere, as far as the node that answers knows, and not there yet"`
	StartedAt  *time.Time `json:"started_at"`
	LastSeenAt *time.Time `json:"last_seen_at"`
}

type listNodesInput struct {
	Limit         int    `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many rows"`
	StartingAfter string `query:"starting_after" maxLength:"300" doc:"The id of the last row of the page before"`
}

func (a *API) registerNodes() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/nodes", id: "list_nodes", tag: "fleet", summary: "List the nodes of the fleet",
		description: "The gateways that share the key store. A gateway with a store of its own is a fleet of one. While the database is away, the answer is what was last heard.",
	}, a.listNodes)
}

func (a *API) listNodes(c *call, in *listNodesInput) (List[FleetNode], error) {
	own := a.Store.Snapshot().Revision()
	nodes := a.Store.Nodes(c.ctx)
	if nodes == nil {
		nodes = []keystore.Node{{ID: a.Node, Self: true, Live: true, Revision: own, LastSeen: c.now}}
	}
	if in.StartingAfter != "" { // nodes come and go: what is after a name that is gone is still after it
		nodes = slices.DeleteFunc(nodes, func(n keystore.Node) bool { return n.ID <= in.StartingAfter })
	}
	more := len(nodes) > in.Limit
	nodes = nodes[:min(len(nodes), in.Limit)]
	rows := make([]FleetNode, 0, len(nodes))
	newest := own + a.Store.Behind()
	for i := range nodes {
		newest = max(newest, nodes[i].Revision)
	}
	for i := range nodes {
		n := &nodes[i]
		row := FleetNode{
			ID: n.ID, Object: "node", Self: n.Self, Status: "live", Version: n.Version, Revision: n.Revision,
			StartedAt: stamp(n.Started), LastSeenAt: stamp(n.LastSeen),
		}
		switch {
		case n.Self && a.Store.Stale(c.now):
			row.Status = "stale"
		case !n.Live:
			row.Status = "silent"
		}
		row.Behind = newest - n.Revision
		rows = append(rows, row)
	}
	return List[FleetNode]{Object: "list", Data: rows, HasMore: more}, nil
}

// appliedNodes lists the nodes on which the change of a revision is in force, and those that may accept keys and where it
// is not yet. It is in force here before the store's call returns; with wait it waits a while for the others. Where nobody
// shares the store there is one node.
func (a *API) appliedNodes(c *call, revision uint64, wait string) []Node {
	most := time.Duration(0)
	if wait == waitFleet {
		most = keystore.DefaultFleetWait
	}
	// Whoever asked may be gone; the answer is kept for its Idempotency-Key all the same.
	applied := a.Store.WaitApplied(context.WithoutCancel(c.ctx), revision, most)
	if applied == nil {
		return []Node{{ID: a.Node, Applied: true}}
	}
	nodes := make([]Node, 0, len(applied))
	for _, n := range applied {
		if wait == waitFleet || n.Node == a.Node {
			nodes = append(nodes, Node{ID: n.Node, Applied: n.Applied})
		}
	}
	return slices.Clip(nodes)
}
