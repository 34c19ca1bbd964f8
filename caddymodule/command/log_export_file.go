package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
)

// An export is written to FILE.partial and gets its name when it is whole. Beside a partial file that can be gone on with
// stands FILE.partial.json: what was asked for, as it was given and with its times fixed.

// partialState is the content of FILE.partial.json.
type partialState struct {
	Given string `json:"given"`
	Query string `json:"query"`
}

// partialError is an export that broke off and can go on.
type partialError struct{ name string }

func (e *partialError) Error() string {
	return "what is there is in " + e.name + ": the same command with --resume goes on"
}

// exportFile is the output of one export while it is written.
type exportFile struct {
	plan                *logExportPlan
	partial, state      string
	file                *os.File
	resumable, resuming bool
}

func (c *call) exportToFile(ctx context.Context, conn *client, p *logExportPlan) (err error) {
	out, err := openExport(p)
	if err != nil {
		return err
	}
	defer func() { err = out.end(err) }()
	resp, err := conn.send(ctx, "GET", pathTo("request_logs", "export"), p.query, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	m := p.meter()
	progress, begun := c.progress(), c.now()
	m.moved = func() { progress.update(func() string { return m.text(begun) }) }
	_, err = io.Copy(out.file, m.watch(resp.Body))
	progress.done()
	if err != nil {
		return fmt.Errorf("writing %s: %w", p.name, err)
	}
	if err := out.finish(); err != nil {
		return err
	}
	switch {
	case !m.rowed:
		c.note.linef("wrote %s (%s)", clean(p.name), byteText(m.bytes))
	case out.resuming:
		c.note.linef("wrote %s (%d more records, %s more)", clean(p.name), m.rows(), byteText(m.bytes))
	default:
		c.note.linef("wrote %s (%d records, %s)", clean(p.name), m.rows(), byteText(m.bytes))
	}
	return nil
}

// openExport makes the partial file, or takes up the one that is there.
func openExport(p *logExportPlan) (*exportFile, error) {
	e := &exportFile{plan: p, partial: p.name + ".partial", state: p.name + ".partial.json", resumable: p.format == "jsonl" && !p.zipped}
	if _, err := os.Lstat(p.name); !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s exists already: what stands under this name is whole", p.name), err)
	}
	_, err := os.Lstat(e.partial)
	switch {
	case err == nil && p.resume:
		return e, e.takeUp()
	case err == nil:
		return nil, fmt.Errorf("%s is there, of an export that broke off: go on with --resume (jsonl), or remove it", e.partial)
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	return e, e.begin()
}

// begin makes new files. Records hold addresses of people: nobody else may read them.
func (e *exportFile) begin() (err error) {
	if e.resumable {
		text, err := json.Marshal(partialState{Given: e.plan.given, Query: e.plan.query.Encode()})
		if err != nil {
			return err
		}
		if err := os.WriteFile(e.state, append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	e.file, err = os.OpenFile(e.partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return err
}

// maxState bounds FILE.partial.json, in bytes.
const maxState = 64 << 10

func readState(name string) (*partialState, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	state := new(partialState)
	if err := json.NewDecoder(io.LimitReader(file, maxState)).Decode(state); err != nil {
		return nil, fmt.Errorf("%s does not say what was asked for: %w", name, err)
	}
	return state, nil
}

// takeUp opens the partial file, cuts off a torn last line, and asks for what comes behind the last whole one.
func (e *exportFile) takeUp() error {
	state, err := readState(e.state)
	if err != nil {
		return fmt.Errorf("%s cannot be gone on with: %w", e.partial, err)
	}
	if state.Given != e.plan.given {
		return misuse("--resume: %s was begun with other filters (%s)", e.partial, orDash(state.Given))
	}
	if e.file, err = os.OpenFile(e.partial, os.O_RDWR, 0); err != nil {
		return err
	}
	whole, line, err := lastLine(e.file)
	if err == nil {
		err = e.file.Truncate(whole)
	}
	if err == nil {
		_, err = e.file.Seek(whole, io.SeekStart)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s cannot be gone on with: %w", e.partial, err), e.file.Close())
	}
	if e.plan.query, err = url.ParseQuery(state.Query); err != nil {
		return errors.Join(fmt.Errorf("%s does not say what was asked for: %w", e.state, err), e.file.Close())
	}
	if whole == 0 {
		return nil // from where it began
	}
	id, _ := rowOf(line)
	if id == "" {
		return errors.Join(fmt.Errorf("%s cannot be gone on with: its last line is no request record", e.partial), e.file.Close())
	}
	e.resuming = true
	e.plan.query.Set("starting_after", id)
	return nil
}

// lastLine finds the end of the last whole line of a file, and the line. An empty one is of a file without any.
func lastLine(f *os.File) (end int64, line []byte, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	begin := max(0, info.Size()-2*maxRow)
	tail := make([]byte, info.Size()-begin)
	if _, err := f.ReadAt(tail, begin); err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	last := bytes.LastIndexByte(tail, '\n')
	switch {
	case last >= 0:
	case begin == 0:
		return 0, nil, nil
	default:
		return 0, nil, errors.New("it has no line of a request record's length")
	}
	return begin + int64(last) + 1, tail[bytes.LastIndexByte(tail[:last], '\n')+1 : last], nil
}

// finish gives the file its name.
func (e *exportFile) finish() error {
	if err := e.file.Sync(); err != nil {
		return err
	}
	if err := e.file.Close(); err != nil {
		return err
	}
	e.file = nil
	if _, err := os.Lstat(e.plan.name); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s has come up meanwhile: the whole export is in %s", e.plan.name, e.partial), err)
	}
	if err := os.Rename(e.partial, e.plan.name); err != nil {
		return err
	}
	if e.resumable {
		if err := os.Remove(e.state); err != nil {
			return err
		}
	}
	return syncDir(filepath.Dir(e.plan.name))
}

// end closes what finish has not. A partial file stays if it can be gone on with, and holds anything.
func (e *exportFile) end(cause error) error {
	if cause == nil || e.file == nil {
		return cause
	}
	info, err := e.file.Stat()
	cause = errors.Join(cause, err, e.file.Sync(), e.file.Close())
	if e.resumable && err == nil && info.Size() > 0 {
		return fmt.Errorf("%w; %w", cause, &partialError{e.partial})
	}
	if e.resumable {
		cause = errors.Join(cause, os.Remove(e.state))
	}
	return errors.Join(cause, os.Remove(e.partial))
}
