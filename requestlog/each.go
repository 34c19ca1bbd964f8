package requestlog

import "context"

// Each calls fn for every record that the filter selects, newest first, behind the cursor (as in List), until none is left,
// ctx ends or fn fails; the error is returned. Records that arrive meanwhile are not among them. It holds one page at a time,
// so that an export of any length takes constant memory. The records are fn's to keep.
func (l *Log) Each(ctx context.Context, f Filter, startingAfter string, fn func(*Record) error) error {
	for {
		page, err := l.List(ctx, f, MaxLimit, startingAfter)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if err := fn(r); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		startingAfter = page.Next
	}
}
