// Package archive is the embedded store of request records: a journal for the newest of them, Parquet files for all others,
// in one directory, answered as one.
//
// # The way of one record
//
// [Archive.Write] appends it to the journal (requestlog.Journal: JSON Lines, written with zap), from where it can be read at
// once. A file of the journal is sealed when it is large or old enough; the housekeeper then reads it in the order of ids and
// writes a Parquet file of the same name (seal.go): first under another name, synced, then renamed. From the rename on the
// Parquet file counts, and the journal's does not; it is deleted when no query reads it any more. A crash at any point leaves
// each record once.
//
// # What a Parquet file holds
//
// The columns of requestlog.Columns, in row groups of some thousand records, packed, and compressed with zstd where that makes them
// smaller, with Parquet's own bloom filters on id, key and account; any reader of Parquet opens it. Its metadata also says what ids and times each row group covers,
// and holds the counts per minute of requestlog.Counts, from which histograms are answered.
//
// # The way of one query
//
// It pins a view (view.go): the files of this moment, and which files of the journal they replace. It passes over files, then row
// groups, whose ids and times it does not reach, then those whose bloom filters exclude it, reads the filter's columns one by
// one while rows are left (rows.go), and the other columns only of the rows that are answered. Work is bounded: a page may end
// early and says how to go on.
//
// # What can fail
//
// A file that is damaged is set aside: renamed to *.damaged, counted, told in the log; a disk that cannot be read is asked again.
// Neither hides a record of another file, and neither ends the process. What keys did (usage.go) is derived: a lost usage file is
// made anew.
package archive
