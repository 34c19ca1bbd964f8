package keystore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
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

// TestKeyLoader: all keys arrive, in whatever order they come and whatever the backend does with its memory, and the first
// broken row ends it.
func TestKeyLoader(t *testing.T) {
	t.Parallel()
	const rows = 20*loadBatch + 7
	for _, broken := range []int{-1, 0, loadBatch - 1, 5*loadBatch + 3, rows - 1} {
		for _, step := range []int{1, 1009} { // by id, and mixed
			l := newKeyLoader(newInterner())
			var err error
			memory := make([]byte, 0, 1<<10)
			for n := 0; n < rows && err == nil; n++ {
				r := storedKey(n * step % rows)
				memory = append(memory[:0], r.Data...)
				if n == broken {
					memory[len(memory)-1]++ // the checksum
				}
				r.Data = memory
				err = l.add(r)
			}
			if broken >= 0 {
				if err == nil {
					_, err = l.finish()
				} else {
					l.close()
				}
				if name := fmt.Sprintf("%020d", broken*step%rows); err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("row %d is broken: the error is %v, want one that names it", broken, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			base, err := l.finish()
			if err != nil {
				t.Fatal(err)
			}
			if len(base.rows) != rows || l.loaded.count != rows {
				t.Fatalf("%d keys arrived, %d were counted, want %d", len(base.rows), l.loaded.count, rows)
			}
			for n := range rows {
				if k := base.key(n); k.ID != storedKey(n).ID || !k.current() {
					t.Fatalf("key %d is %s", n, k.ID)
				}
			}
		}
	}
}

// TestKeyLoaderTwice: what stands there twice is no store.
func TestKeyLoaderTwice(t *testing.T) {
	t.Parallel()
	l := newKeyLoader(newInterner())
	for _, n := range []int{1, 2, 1} {
		if err := l.add(storedKey(n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.finish(); err == nil || !strings.Contains(err.Error(), storedKey(1).ID) {
		t.Errorf("the error is %v, want one that names the row", err)
	}
}

// TestKeyLoaderID: the base finds the id of a key without taking its record apart. A record in which it stands elsewhere, which
// no version of the program writes, is refused, though every other reader would find it.
func TestKeyLoaderID(t *testing.T) {
	t.Parallel()
	r := storedKey(1)
	odd := append([]byte{r.Data[0], 0x81, 0}, r.Data[2:len(r.Data)-4]...) // the number of the first field in two bytes
	r.Data = binary.BigEndian.AppendUint32(odd, crc32.Checksum(odd, castagnoli))
	if _, err := decodeKey(newInterner(), r.ID, r.Data); err != nil {
		t.Fatalf("the record is not what this test is about: %v", err)
	}
	l := newKeyLoader(newInterner())
	for _, r := range []Row{storedKey(2), r, storedKey(3)} {
		if err := l.add(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.finish(); err == nil || !strings.Contains(err.Error(), r.ID) {
		t.Errorf("the error is %v, want one that names the row", err)
	}
}
