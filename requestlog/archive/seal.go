package archive

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"

	"github.com/parquet-go/parquet-go"
	"go.uber.org/zap"

	"github.com/keystile/keystile/requestlog"
)

// Names of the metadata that an archived file carries beside its columns: what its row groups cover, and counts.
const (
	groupsKey = "keystile.groups"
	countsKey = "keystile.counts"
)

// outFile buffers a file that is being written, and counts its bytes.
type outFile struct {
	*bufio.Writer
	file requestlog.File
	size int64
}

func newOutFile(f requestlog.File) *outFile {
	o := &outFile{file: f}
	o.Writer = bufio.NewWriterSize(countingWriter{o}, 256<<10)
	return o
}

type countingWriter struct{ out *outFile }

func (w countingWriter) Write(b []byte) (int, error) {
	n, err := w.out.file.Write(b)
	w.out.size += int64(n)
	return n, err
}

// sealing is a Parquet file being made.
type sealing struct {
	writer *ParquetWriter
	groups []group
	open   group // the row group being written
	counts *requestlog.Counts
	usage  *usageDelta
	rows   int
}

func newSealing(out *outFile) *sealing {
	filters := make([]parquet.BloomFilterColumn, len(bloomColumns))
	for i, name := range bloomColumns {
		filters[i] = parquet.SplitBlockFilter(bloomBits, name)
	}
	s := &sealing{
		writer: newParquetWriter(out, parquet.BloomFilters(filters...)),
		open:   group{span: emptySpan}, counts: requestlog.NewCounts(), usage: newUsageDelta(),
	}
	s.writer.endRows = s.endGroup
	return s
}

func (s *sealing) add(r *requestlog.Record) error {
	position, _ := requestlog.Position(r.ID)
	s.open.span.add(position, r.Time.UnixMilli())
	s.open.Rows++
	s.rows++
	s.counts.Add(r)
	s.usage.add(r)
	return s.writer.Write(r)
}

func (s *sealing) endGroup() error {
	s.groups = append(s.groups, s.open)
	s.open = group{span: emptySpan}
	return nil
}

// close writes the metadata and the footer.
func (s *sealing) close() error {
	s.writer.endGroup()
	for i := range s.groups {
		s.groups[i].publish()
	}
	groups, err := json.Marshal(s.groups)
	if err != nil {
		return err
	}
	counts, err := s.counts.MarshalBinary()
	if err != nil {
		return err
	}
	s.writer.parquet.SetKeyValueMetadata(groupsKey, string(groups))
	s.writer.parquet.SetKeyValueMetadata(countsKey, base64.StdEncoding.EncodeToString(counts))
	return s.writer.Close()
}

// seal makes a Parquet file of a sealed file of the journal. Wherever a crash comes between, each record is found once: until
// the rename the Parquet file does not count, from then on the journal's does not (dropSealed), since both have one name.
func (a *Archive) seal(ctx context.Context, source requestlog.SealedFile) error {
	base := strings.TrimSuffix(filepath.Base(source.Path), requestlog.JournalSuffix)
	var s *sealing
	skipped := 0
	path := a.join(base + parquetSuffix)
	size, err := a.replaceFile(path, func(out *outFile) error {
		s = newSealing(out)
		var err error
		if skipped, err = a.journal.EachSorted(ctx, source.Path, s.add); err != nil {
			return err
		}
		if s.rows == 0 {
			return errNoRecord
		}
		return s.close()
	})
	if errors.Is(err, errNoRecord) {
		return a.setSourceAside(source, skipped)
	}
	if err != nil {
		return err
	}
	f, ok := newFile(path, size)
	if !ok {
		return errors.New("a name of the journal is none of the archive: " + base)
	}
	a.publish(func(v *view) {
		v.files = append(v.files, f)
		v.sources[source.Path] = true
	}, func(u *usage) { u.merge(s.usage, f.name()) })
	a.unsaved++
	if skipped > 0 {
		return errors.Join(a.syncDir(), a.setSourceAside(source, skipped))
	}
	return a.forget(source)
}

// forget deletes a file of the journal that was archived, once the archived one is sure to outlast a power cut.
func (a *Archive) forget(source requestlog.SealedFile) error {
	if err := a.syncDir(); err != nil {
		return err
	}
	return a.journal.Forget(source.Path)
}

var errNoRecord = errors.New("no readable record")

// setSourceAside keeps a file of the journal that has unreadable lines for the operator.
func (a *Archive) setSourceAside(source requestlog.SealedFile, skipped int) error {
	a.skipped.Add(uint64(skipped))
	a.setAside.Add(1)
	name := filepath.Base(source.Path) + asideSuffix
	a.logger.Error("request log: a file of the journal has unreadable lines and was set aside; all others were archived",
		zap.String("file", name), zap.Int("lines", skipped))
	if err := a.journal.SetAside(source.Path, name); err != nil {
		return err
	}
	a.aside = append(a.aside, asideFile{a.join(name), source.Size, a.o.Now()})
	return nil
}
