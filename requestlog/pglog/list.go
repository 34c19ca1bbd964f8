package pglog

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keystile/keystile/requestlog"
)

// fewWithin is how many ids of Within are looked up one by one. Of more, every record is looked at.
const fewWithin = 16

// List answers one page, newest first.
func (s *Store) List(ctx context.Context, q requestlog.Query) (requestlog.Page, error) {
	if q.After != "" && !requestlog.ValidID(q.After) {
		return requestlog.Page{}, &requestlog.FilterError{Param: "starting_after", Reason: strconv.Quote(q.After[:min(len(q.After), 64)]) + " is not a request id"}
	}
	if err := ctx.Err(); err != nil {
		return requestlog.Page{}, err
	}
	if q.After == "" { // what came since is not on a further page
		s.settle(ctx)
	}
	return s.list(ctx, q)
}

func (s *Store) list(ctx context.Context, q requestlog.Query) (page requestlog.Page, err error) {
	w := newWhere(&q.Filter)
	var days []storedDay
	var r reach
	if q.Filter.RequestID == "" {
		var skew time.Duration
		if days, skew, err = s.storedDays(ctx); err != nil {
			return page, err
		}
		r = reachOf(&q.Filter, q.After, skew)
	} else {
		r = reachOf(&requestlog.Filter{}, q.After, 0) // the id itself says where it is
	}
	within := within(&q.Filter)
	if w.none || r.empty() || q.Filter.Within != nil && len(within) == 0 {
		return page, nil
	}
	p := pageAsked{limit: min(max(q.Limit, 1), requestlog.MaxLimit)}
	if q.Filter.Within != nil {
		p.within = within
		w.found = w.found || len(within) <= fewWithin
		w.plain = w.plain && len(within) <= fewWithin
	}
	began := time.Now()
	stretches := r.stretches(days, w.atOnce())
	for i, part := range stretches {
		more, err := s.listPart(ctx, *w, part, &p)
		if err != nil {
			return requestlog.Page{}, err
		}
		last := i == len(stretches)-1
		switch {
		case more:
			return requestlog.Page{Records: p.records, More: true, Next: p.records[len(p.records)-1].ID}, nil
		case last:
			return requestlog.Page{Records: p.records}, nil
		case time.Since(began) > s.o.ListTime:
			return requestlog.Page{Records: p.records, More: true, Next: requestPrefix + part.low}, nil
		}
	}
	return page, nil
}

// pageAsked is a page that is being gathered.
type pageAsked struct {
	limit   int
	within  []string
	records []*requestlog.Record
	bytes   int64 // of captured text
}

// listPart adds the records of a stretch to a page, and says whether the page is full with more behind it. A record beyond the
// page's says that there are more. The server passes over texts that the page has no room for: behind the record that goes
// beyond MaxPageBytes, the page ends.
func (s *Store) listPart(ctx context.Context, w where, r reach, p *pageAsked) (more bool, err error) {
	w.args = slices.Clone(w.args)
	want := strconv.Itoa(p.limit - len(p.records) + 1)
	sql := fmt.Sprintf(`SELECT %s, held FROM (
		SELECT *, count(*) OVER () AS held, coalesce(sum(%s) OVER (ORDER BY id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
		FROM (%s ORDER BY id DESC LIMIT %s) AS newest) AS measured WHERE before < %s ORDER BY id DESC`,
		selected, capturedBytes, w.choice(r, p.within, want), want, w.arg(requestlog.MaxPageBytes-p.bytes)+"::bigint")
	var found []*requestlog.Record
	held := 0
	err = s.ask(ctx, sql, w.args, func(rows pgx.Rows) error {
		for rows.Next() {
			raw := rows.RawValues()
			record, err := decodeRow(raw)
			if err != nil {
				return err
			}
			if held, err = strconv.Atoi(string(raw[len(raw)-1])); err != nil {
				return err
			}
			found = append(found, record)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	more = len(found) < held
	if room := p.limit - len(p.records); len(found) > room {
		found, more = found[:room], true
	}
	for _, record := range found {
		p.bytes += int64(record.CapturedBytes())
	}
	p.records = append(p.records, found...)
	return more || p.bytes >= requestlog.MaxPageBytes && len(found) > 0, nil
}

// choice selects the rows of a stretch. For few ids of Within each index is asked for its newest.
func (w *where) choice(r reach, within []string, want string) string {
	bounds := r.conditions(w)
	if within == nil {
		return `SELECT * FROM keystile_log_records WHERE ` + w.text(bounds...)
	}
	list := w.arg(within)
	if len(within) > fewWithin {
		return `SELECT * FROM keystile_log_records WHERE ` + w.text(append(bounds, concerns(list))...)
	}
	acted := w.text(append(slices.Clone(bounds), `account = one.id AND (decision <> '`+requestlog.DecisionForeign+`' OR owner = one.id)`)...)
	owned := w.text(append(slices.Clone(bounds), `owner = one.id AND owner IS DISTINCT FROM account
		AND (account IS NULL OR decision = '`+requestlog.DecisionForeign+`' OR account <> ALL(`+list+`::text[]))`)...)
	rows := func(condition string) string {
		return `(SELECT * FROM keystile_log_records WHERE ` + condition + ` ORDER BY id DESC LIMIT ` + want + `)`
	}
	return `SELECT found.* FROM unnest(` + list + `::text[]) AS one (id) CROSS JOIN LATERAL (` + rows(acted) + ` UNION ALL ` + rows(owned) + `) AS found`
}

// Get answers the record of the id.
func (s *Store) Get(ctx context.Context, id string) (*requestlog.Record, error) {
	if !requestlog.ValidID(id) {
		return nil, requestlog.ErrNotFound
	}
	page, err := s.List(ctx, requestlog.Query{Filter: requestlog.Filter{RequestID: id}, Limit: 1})
	switch {
	case err != nil:
		return nil, err
	case len(page.Records) == 0:
		return nil, requestlog.ErrNotFound
	}
	return page.Records[0], nil
}
