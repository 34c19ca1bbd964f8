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
	Files    int    `json:"files" doc:"Of this node, and the days of a database"`
	Sealed   int    `json:"sealed" doc:"Those of them that are in their final form, or days"`
	Bytes    int64  `json:"bytes" doc:"Of all of them"`

	Backlog *RequestLogBacklog `json:"backlog,omitempty" doc:"Of a request log in a database; absent for files"`
}

// RequestLogBacklog is what one node has recorded and not yet brought to the database.
type RequestLogBacklog struct {
	DatabaseUp bool   `json:"database_up" doc:"The database takes records"`
	Records    int64  `json:"records" doc:"About, for those of an earlier process"`
	Bytes      int64  `json:"bytes" doc:"On this node's disk"`
	AgeSeconds int64  `json:"age_seconds" doc:"Of the oldest; 0 if there is none"`
	Batches    uint64 `json:"batches" doc:"That were brought to the database"`
	Expired    uint64 `json:"expired" doc:"Records that were too old by then to be kept"`
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
	var backlog *RequestLogBacklog
	if b := s.Backlog; b != nil {
		backlog = &RequestLogBacklog{
			DatabaseUp: !b.Away, Records: b.Records, Bytes: b.Bytes, AgeSeconds: int64(b.Age.Seconds()), Batches: b.Batches, Expired: b.Expired,
		}
	}
	return RequestLogStats{
		Backlog: backlog,
		Object:  "request_log_stats", Node: node, Ready: ready, Queued: s.Queued, Capacity: s.Capacity, Appended: s.Appended,
		Stored: s.Stored, Dropped: s.Dropped, Gaps: s.Gaps, Errors: s.Errors, Skipped: s.Skipped, SetAside: s.SetAside, Sealed: s.Sealed, Files: s.Files, Bytes: s.Bytes,
	}
}
