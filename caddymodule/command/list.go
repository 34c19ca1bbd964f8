package command

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	"github.com/spf13/pflag"
)

// maxPage is the largest page that the API gives.
const maxPage = 100

// page is one page of a list, its rows still undecoded.
type page struct {
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
}

// addPaging adds the flags of a list.
func addPaging(fs *pflag.FlagSet) {
	fs.Int("limit", 20, "Rows of a page, 1 to 100")
	fs.String("starting-after", "", "Id of the last row already seen: continue after it")
	fs.Bool("all", false, "Print all pages")
}

// list asks for a list and prints it: with --json the answer as it came (with --all one answer of the same shape that holds
// every row), else as a table with the columns of head, whose cells row gives.
func list[T any](c *call, path string, query url.Values, head []string, row func(*T) (id string, cells []string)) error {
	all, _ := c.flags().GetBool("all")
	limit, _ := c.flags().GetInt("limit")
	if limit < 1 || limit > maxPage {
		return misuse("--limit %d: want 1 to %d", limit, maxPage)
	}
	if all {
		limit = maxPage
	}
	if query == nil {
		query = make(url.Values)
	}
	query.Set("limit", strconv.Itoa(limit))
	if after, _ := c.flags().GetString("starting-after"); after != "" {
		query.Set("starting_after", after)
	}
	if !all && c.json {
		answer, err := c.get(path, query)
		if err != nil {
			return err
		}
		return c.out.raw(answer)
	}
	rows, hasMore, err := fetch(c, path, query, all)
	if err != nil {
		return err
	}
	if c.json {
		doc, err := json.Marshal(page{Data: rows})
		if err != nil {
			return fmt.Errorf("writing the list: %w", err)
		}
		return c.out.raw(doc)
	}
	cells := make([][]string, 0, len(rows))
	last := ""
	for _, raw := range rows {
		var value T
		if err := json.Unmarshal(raw, &value); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		id, line := row(&value)
		last = id
		cells = append(cells, line)
	}
	c.out.table(head, cells)
	c.more(hasMore, last)
	return nil
}

// fetch asks for one page, or for all of them.
func fetch(c *call, path string, query url.Values, all bool) (rows []json.RawMessage, hasMore bool, err error) {
	conn, err := c.connect()
	if err != nil {
		return nil, false, err
	}
	rows = []json.RawMessage{}
	bar := c.progress()
	defer bar.done()
	for {
		answer, err := conn.do(c.context(), "GET", path, query, nil)
		if err != nil {
			return nil, false, err
		}
		var p page
		if err := json.Unmarshal(answer, &p); err != nil {
			return nil, false, fmt.Errorf("reading the answer: %w", err)
		}
		rows = append(rows, p.Data...)
		if !all || !p.HasMore || len(p.Data) == 0 {
			return rows, p.HasMore, nil
		}
		var last struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(p.Data[len(p.Data)-1], &last); err != nil || last.ID == "" {
			return nil, false, fmt.Errorf("reading the answer: a row without an id")
		}
		query.Set("starting_after", last.ID)
		bar.updatef("%d rows", len(rows))
	}
}
