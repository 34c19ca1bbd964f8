package keystore

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/go-memdb"
)

// Snapshotter is a backend that can be copied whole while it is in use.
type Snapshotter interface {
	// Snapshot is a copy of everything at one moment. Taking it holds nothing up for longer than a copy within one disk
	// takes; reading it, however slowly, holds nothing up at all.
	Snapshot(ctx context.Context) (*SnapshotCopy, error)
}

// SnapshotCopy is a copy of a backend. Whoever asked for it closes it, and it is gone then.
type SnapshotCopy struct {
	io.ReadCloser
	Head   Head
	Size   int64    // bytes that it reads
	SHA256 [32]byte // of them
}

// BackupManifest says what a copy of the store is.
type BackupManifest struct {
	Format    string    `json:"format"` // "keystile backup 1"
	CreatedAt time.Time `json:"created_at"`
	Revision  uint64    `json:"revision"`
	Events    uint64    `json:"events"`
	Head      string    `json:"head"`       // place of the newest event in the chain, see [ChainPlace]
	MasterKey string    `json:"master_key"` // number of the keyset that tokens are sealed under: without it they cannot be revealed, and the store does not start
	File      string    `json:"file"`       // name of the copy
	Size      int64     `json:"size"`
	SHA256    string    `json:"sha256"`
}

// BackupFormat is the Format of manifests that this version writes and reads.
const BackupFormat = "keystile backup 1"

// Backup copies the store as it is at one moment, while it is in use. The master key is not in the copy. The caller
// closes the copy.
func (s *Store) Backup(ctx context.Context) (*BackupManifest, *SnapshotCopy, error) {
	source, ok := s.backend.(Snapshotter)
	if !ok {
		return nil, nil, invalid("", "this store cannot be copied by this program: use the tools of its database")
	}
	keyset, err := s.backend.Meta(ctx, metaKeyset)
	if err != nil {
		return nil, nil, err
	}
	data, err := source.Snapshot(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("copying the key store: %w", err)
	}
	return &BackupManifest{
		Format:    BackupFormat,
		CreatedAt: milliseconds(s.now()),
		Revision:  data.Head.Revision,
		Events:    data.Head.Events,
		Head:      ChainPlace{Seq: data.Head.Events, Hash: data.Head.Hash}.String(),
		MasterKey: keysetName(keyset),
		File:      "keys.db",
		Size:      data.Size,
		SHA256:    hexHash(data.SHA256),
	}, data, nil
}

// Inspection is what [Inspect] found.
type Inspection struct {
	Head                           Head
	Keys, Accounts                 int
	Chain                          *ChainReport
	Sealed                         bool   // tokens are sealed under the master key
	MasterKey                      string // number of the keyset that they are sealed under
	MasterKeyPresent, MasterKeyFit bool   // the master key given exists; and it is that one
}

// Inspect reads a backend through without changing it: every row, the whole chain of events, and whether the master key,
// if one is given, is the one that the store was sealed under. What is wrong with a row is an error; the rest stands in
// the answer. That the master key cannot be read is an error beside an answer. The caller closes the backend.
func Inspect(ctx context.Context, b Backend, key MasterKey) (*Inspection, error) {
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		return nil, fmt.Errorf("inspecting the key store: %w", err)
	}
	s := &Store{backend: b, db: db, directory: newDirectory(), intern: newInterner()}
	s.met.Store(true)
	found, err := s.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("inspecting the key store: %w", err)
	}
	in := &Inspection{Head: s.head, Keys: found.keys, Accounts: len(found.accounts), Sealed: found.sealed != ""}
	if in.Chain, err = verifyChain(ctx, b, ChainPlace{}); err != nil {
		return nil, fmt.Errorf("inspecting the key store: %w", err)
	}
	stored, err := b.Meta(ctx, metaKeyset)
	if err != nil {
		return nil, fmt.Errorf("inspecting the key store: %w", err)
	}
	in.MasterKey = keysetName(stored)
	if key == nil {
		return in, nil
	}
	in.MasterKeyPresent, in.MasterKeyFit, err = fits(key, stored)
	return in, err
}
