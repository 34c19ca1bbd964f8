package api

import (
	"net/http"

	"github.com/keystile/keystile/requestlog"
)

// RequestLogStats is how the request log of one node does. Counts are those of its process:
// appended = stored + dropped + queued.
type RequestLogStats struct {
	Object   string `json:"object" enum:"request_log_stats"`
	Node     string `json:"node"`
	Ready    bool   `json:"ready" doc:"There is room for the records of requests that begin now"`
	Queued   int    `json:"queued" doc:"Records that wait to be stored"`
	Capacity int    `json:"capacity" doc:"How many can wait"`
	Appended uint64 `json:"appended" doc:"Records of requests"`
	Stored   uint64 `json:"stored"`
	Dropped  uint64 `json:"dropped" doc:"Records lost; gap records say when"`
	Gaps     uint64 `json:"gaps" doc:"Gap records stored"`
	Errors   uint64 `json:"errors" doc:"Failed writes, syncs and deletions"`
	Skipped  uint64 `json:"skipped" doc:"Unreadable lines met"`
	SetAside uint64 `json:"set_aside" doc:"Damaged files that were taken out of the log and kept under another name"`
	Files    int    `json:"files"`
	Sealed   int    `json:"sealed" doc:"Those of them that are in their final form"`
	Bytes    int64  `json:"bytes" doc:"Of those files"`
}

type requestLogStatsInput struct{}

func (a *API) registerRequestLogStats() {
	handle(a, operation{
		method: http.MethodGet, path: "/v1/request_logs/stats", id: "get_request_log_stats", tag: "request logs", summary: "How the request log does",
		description: "Of this node, since its process began. For callers without a limit: the counts are everybody's.",
	}, func(*call, *requestLogStatsInput) (RequestLogStats, error) {
		return viewStats(a.Log.Stats(), a.Log.Ready(), a.Node), nil
	})
}

func viewStats(s requestlog.Stats, ready bool, node string) RequestLogStats {
	return RequestLogStats{
		Object: "request_log_stats", Node: node, Ready: ready, Queued: s.Queued, Capacity: s.Capacity, Appended: s.Appended,
		Stored: s.Stored, Dropped: s.Dropped, Gaps: s.Gaps, Errors: s.Errors, Skipped: s.Skipped, SetAside: s.SetAside, Sealed: s.Sealed, Files: s.Files, Bytes: s.Bytes,
	}
}
