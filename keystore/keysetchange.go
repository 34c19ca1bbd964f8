package keystore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// A keyset is a list of keys in the order in which they were made. One of them, the primary, seals; all of them open. Keys
// behind the primary wait to become it; those before it were it once.

// keyIDs are the keys of a keyset that can be used, in order.
func keyIDs(handle *keyset.Handle) []uint32 {
	ids := make([]uint32, 0, handle.Len())
	for i := range handle.Len() {
		if entry, err := handle.Entry(i); err == nil && entry.KeyStatus() == keyset.Enabled {
			ids = append(ids, entry.KeyID())
		}
	}
	return ids
}

func hasKey(handle *keyset.Handle, id uint32) bool {
	for _, have := range keyIDs(handle) {
		if have == id {
			return true
		}
	}
	return false
}

// waitingKey is the newest key behind the primary, 0 if none waits.
func waitingKey(handle *keyset.Handle) uint32 {
	ids := keyIDs(handle)
	if last := ids[len(ids)-1]; last != primaryID(handle) {
		for _, id := range ids {
			if id == primaryID(handle) {
				return last
			}
		}
	}
	return 0
}

// withNewKey is the keyset with one more key at its end, which waits.
func withNewKey(handle *keyset.Handle) (*keyset.Handle, uint32, error) {
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, 0, fmt.Errorf("making a master key: %w", err)
	}
	next, err := manager.Handle()
	return next, id, err
}

func withPrimary(handle *keyset.Handle, id uint32) (*keyset.Handle, error) {
	if primaryID(handle) == id {
		return handle, nil
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := manager.SetPrimary(id); err != nil {
		return nil, fmt.Errorf("changing the primary master key: %w", err)
	}
	return manager.Handle()
}

// onlyPrimary is the keyset without all other keys.
func onlyPrimary(handle *keyset.Handle) (*keyset.Handle, error) {
	manager, primary := keyset.NewManagerFromHandle(handle), primaryID(handle)
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return nil, err
		}
		if entry.KeyID() == primary {
			continue
		}
		if err := manager.Delete(entry.KeyID()); err != nil {
			return nil, fmt.Errorf("dropping a master key: %w", err)
		}
	}
	return manager.Handle()
}

// errByHand is the answer of a source that this program cannot write to.
var errByHand = errors.New("cannot be changed by this program")

// fixed: a link would be replaced by a file, and whoever made it would not know.
func (f masterKeyFile) fixed() error {
	info, err := os.Lstat(string(f))
	switch {
	case err != nil:
		return fmt.Errorf("%v cannot be read: %w", f, err)
	case info.Mode()&os.ModeSymlink != 0:
		return fmt.Errorf("%v is a link to another place, and %w", f, errByHand)
	}
	return nil
}

// replace puts another keyset in the file's place: whole under another name first, and then by a rename, so that after a
// crash at any moment the file holds the one or the other. was is what must be in it.
func (f masterKeyFile) replace(was, next *keyset.Handle) error {
	if err := f.fixed(); err != nil {
		return err
	}
	there, err := f.load()
	if err != nil {
		return err
	}
	if !sameKeys(there, was) {
		return otherKeys(f)
	}
	text, err := writeKeyset(next)
	if err != nil {
		return err
	}
	defer clear(text)
	if err := replaceFile(string(f), text); err != nil {
		return fmt.Errorf("%v cannot be written: %w", f, err)
	}
	return nil
}

func otherKeys(source fmt.Stringer) error {
	return fmt.Errorf("%v holds other keys than the ones in use: run `keystile master-key reload` first; nothing was changed", source)
}

// pendingSuffix is what a new master key file has behind its name until it is in place.
const pendingSuffix = ".new"

// tidy removes what a crash has left of a replacement: it holds keys.
func (f masterKeyFile) tidy() error {
	if _, err := os.Lstat(string(f) + pendingSuffix); err != nil {
		return nil //nolint:nilerr // nothing is left; a file that cannot be looked at is no file that can be read
	}
	if err := os.Remove(string(f) + pendingSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing what is left of a change of %v: %w", f, err)
	}
	return nil
}

func replaceFile(path string, content []byte) (err error) {
	// Always the same name, so that what a crash has left is found; and never through a link that somebody has put there.
	if err := os.Remove(path + pendingSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp, err := os.OpenFile(path+pendingSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// sameKeys says whether two keysets hold the same keys, whichever is the primary. Ids are random numbers of 32 bits and
// no secret; that the keys behind them are the same too is what the store's check value is for.
func sameKeys(a, b *keyset.Handle) bool {
	one, other := keyIDs(a), keyIDs(b)
	if len(one) != len(other) {
		return false
	}
	for _, id := range one {
		if !hasKey(b, id) {
			return false
		}
	}
	return true
}

func (e masterKeyEnv) fixed() error { return fmt.Errorf("%v %w", e, errByHand) }

func (e masterKeyEnv) replace(*keyset.Handle, *keyset.Handle) error { return e.fixed() }

func (t masterKeyText) fixed() error { return fmt.Errorf("%v %w", t, errByHand) }

func (t masterKeyText) replace(*keyset.Handle, *keyset.Handle) error { return t.fixed() }

// AddToMasterKeyFile adds a waiting key to a keyset file that no running program is asked about, and answers the key's
// number. It is for keysets that are kept elsewhere.
func AddToMasterKeyFile(path string) (uint32, error) {
	f := masterKeyFile(path)
	handle, err := f.load()
	if err != nil {
		return 0, fileError(f, err)
	}
	if id := waitingKey(handle); id != 0 {
		return id, nil
	}
	next, id, err := withNewKey(handle)
	if err != nil {
		return 0, err
	}
	return id, f.replace(handle, next)
}

// PruneMasterKeyFile leaves one key in a keyset file that no running program is asked about. Whether something is still
// sealed under the others is for the caller to know.
func PruneMasterKeyFile(path string, keep uint32) error {
	f := masterKeyFile(path)
	handle, err := f.load()
	if err != nil {
		return fileError(f, err)
	}
	if !hasKey(handle, keep) {
		return fmt.Errorf("%v has no key %d; nothing was changed", f, keep)
	}
	next, err := withPrimary(handle, keep)
	if err == nil {
		next, err = onlyPrimary(next)
	}
	if err != nil {
		return err
	}
	return f.replace(handle, next)
}

func fileError(f masterKeyFile, err error) error {
	if errors.Is(err, errNoMasterKey) {
		return fmt.Errorf("%v is missing", f)
	}
	return err
}
