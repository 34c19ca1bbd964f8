// Package archive is the embedded store of request records: a journal for the newest of them, Parquet files for all others.
package archive
