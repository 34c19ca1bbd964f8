package keystore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keystile/keystile/policy"
)

// storedKey is a row as the store writes it.
func storedKey(n int) Row {
	k := &Key{
		ID: fmt.Sprintf("%s%020d", prefixKey, n), Account: "acct_1", Kind: policy.KindSecret, Mode: policy.ModeLive,
		Name: "stored", Mask: "sk_live_****abcd", CreatedAt: time.UnixMilli(1).UTC(), Digest: policy.DigestOf(fmt.Sprint(n)),
	}
	return Row{Table: TableKey, ID: k.ID, Data: k.encode()}
}

// TestKeyLoader: keys arrive in their order, whatever the backend does with its memory, and the first broken row ends it.
func TestKeyLoader(t *testing.T) {
	t.Parallel()
	const rows = 20*loadBatch + 7
	for _, broken := range []int{-1, 0, loadBatch - 1, 5*loadBatch + 3, rows - 1} {
		var got []string
		l := newKeyLoader(newInterner(), func(k *Key) error {
			got = append(got, k.ID)
			return nil
		})
		var err error
		memory := make([]byte, 0, 1<<10)
		for n := 0; n < rows && err == nil; n++ {
			r := storedKey(n)
			memory = append(memory[:0], r.Data...)
			if n == broken {
				memory[len(memory)-1]++ // the checksum
			}
			r.Data = memory
			err = l.add(r)
		}
		if ended := l.drain(); err == nil {
			err = ended
		}
		l.close()
		want := rows
		if broken >= 0 {
			want = broken
			if name := fmt.Sprintf("%020d", broken); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("row %d is broken: the error is %v, want one that names it", broken, err)
			}
		} else if err != nil {
			t.Error(err)
		}
		if len(got) != want {
			t.Fatalf("broken %d: %d keys arrived, want %d", broken, len(got), want)
		}
		for n, id := range got {
			if id != storedKey(n).ID {
				t.Fatalf("key %d is %s", n, id)
			}
		}
	}
}

// TestKeyLoaderInsertFails: what the index refuses is an error that names the row.
func TestKeyLoaderInsertFails(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	l := newKeyLoader(newInterner(), func(*Key) error { return full })
	defer l.close()
	r := storedKey(1)
	if err := l.add(r); err != nil {
		t.Fatal(err)
	}
	if err := l.drain(); !errors.Is(err, full) || !strings.Contains(err.Error(), r.ID) {
		t.Errorf("the error is %v", err)
	}
	if err := l.add(r); !errors.Is(err, full) {
		t.Errorf("after an error: %v", err)
	}
}
