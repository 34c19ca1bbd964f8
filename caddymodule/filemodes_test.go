package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStoreFileOfEverybody: a store that others may write to is refused, at a start and by validate; one that they may read
// is warned of.
func TestStoreFileOfEverybody(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	warnings := 0
	check := func(mode os.FileMode) error {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		warnings = 0
		return storePlace{file: path}.checkFiles(func(string) { warnings++ })
	}
	if err := check(0o600); err != nil || warnings != 0 {
		t.Errorf("0600: %v, %d warnings", err, warnings)
	}
	if err := check(0o644); err != nil || warnings != 1 {
		t.Errorf("0644: %v, %d warnings, want one", err, warnings)
	}
	if err := check(0o666); err == nil {
		t.Error("0666 is accepted")
	}
	s := &sharedStore{place: storePlace{file: path}, master: masterSource{file: path + ".key"}}
	if _, err := s.openStore(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("opening: %v", err)
	}
	if err := s.probe(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("validating: %v", err)
	}
	if _, err := os.Stat(path + ".key"); err == nil {
		t.Error("a master key was made for a store that was refused")
	}
}

func TestLogFilesOfEverybody(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "day", "records.parquet")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var said []string
	warn := func(warning string) { said = append(said, warning) }
	if err := checkLogFiles(dir, warn); err != nil || len(said) != 0 {
		t.Errorf("private files: %v, %q", err, said)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkLogFiles(dir, warn); err != nil || len(said) != 1 || !strings.Contains(said[0], file) {
		t.Errorf("a file for all to read: %v, %q, want one warning with its name", err, said)
	}
	if err := checkLogFiles(filepath.Join(dir, "none"), warn); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := checkLogFiles(filepath.Join(dir, "log"), warn); err == nil {
		t.Error("a directory that is to be made in one of everybody's is accepted")
	}
}
