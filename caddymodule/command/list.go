package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/pflag"
)

// maxPage is the largest page that the API gives.
const maxPage = 100

// page is one page of a list, its rows still undecoded. Next is the cursor of the next page where it is not the last row's
// id: a page of the request log may end between rows.
type page struct {
	Object  string            `json:"object"`
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
	Next    string            `json:"next,omitempty"`
}

// cursor is the starting_after of the next page.
func (p *page) cursor() (string, error) {
	if p.Next != "" {
		return p.Next, nil
	}
	var last struct {
		ID string `json:"id"`
	}
	if len(p.Data) > 0 {
		if err := json.Unmarshal(p.Data[len(p.Data)-1], &last); err != nil {
			return "", fmt.Errorf("reading the answer: %w", err)
		}
	}
	if last.ID == "" {
		return "", errors.New("reading the answer: it says that there is more, and not where")
	}
	return last.ID, nil
}

// addPaging adds the flags of a list.
func addPaging(fs *pflag.FlagSet) {
	fs.Int("limit", 20, "Rows of a page: `N` from 1 to 100")
	fs.String("starting-after", "", "`ID` of the last row already seen: continue after it")
	fs.Bool("all", false, "Print all pages")
}

// list asks for a list and prints it: with --json the answer as it came (with --all one answer of the same shape that holds
// every row), else as a table with the columns of head, whose cells row gives.
func list[T any](c *call, path string, query url.Values, head []string, row func(*T) []string) error {
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
	if c.json {
		return c.listJSON(path, query, all)
	}
	t := c.out.table(head)
	return c.eachPage(path, query, all, func(p *page, last bool) error {
		cells := make([][]string, 0, len(p.Data))
		for _, raw := range p.Data {
			var value T
			if err := json.Unmarshal(raw, &value); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			cells = append(cells, row(&value))
		}
		t.add(cells)
		if !last || !p.HasMore {
			return nil
		}
		next, err := p.cursor()
		if err != nil {
			return err
		}
		c.note.linef("There is more: --starting-after %s, or --all.", clean(next))
		return nil
	})
}

// listJSON prints one page as it came, or all pages as one list, row by row: a request log can be larger than the memory.
func (c *call) listJSON(path string, query url.Values, all bool) error {
	if !all {
		answer, err := c.get(path, query)
		if err != nil {
			return err
		}
		return c.out.raw(answer)
	}
	separator := `{"object":"list","data":[`
	return c.eachPage(path, query, true, func(p *page, last bool) error {
		for _, raw := range p.Data {
			if err := c.out.write([]byte(separator), raw); err != nil {
				return err
			}
			separator = ","
		}
		if !last {
			return nil
		}
		if separator == "," {
			separator = ""
		}
		return c.out.write([]byte(separator), []byte(`],"has_more":false}`+"\n"))
	})
}

// eachPage asks for one page, or for all of them, and calls f with each.
func (c *call) eachPage(path string, query url.Values, all bool, f func(p *page, last bool) error) error {
	conn, err := c.connect()
	if err != nil {
		return err
	}
	for {
		answer, err := conn.do(c.context(), http.MethodGet, path, query, nil)
		if err != nil {
			return err
		}
		var p page
		if err := json.Unmarshal(answer, &p); err != nil {
			return fmt.Errorf("reading the answer: %w", err)
		}
		last := !all || !p.HasMore
		if err := f(&p, last); err != nil || last {
			return err
		}
		next, err := p.cursor()
		if err != nil {
			return err
		}
		if query.Get("starting_after") == next {
			return errors.New("reading the list: the next page begins where this one did")
		}
		query.Set("starting_after", next)
	}
}
