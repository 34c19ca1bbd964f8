package keystore

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// MasterKey is where the master keyset comes from, under which tokens that can be revealed are sealed.
type MasterKey interface {
	// load reads the keyset. errNoMasterKey: there is none.
	load() (*keyset.Handle, error)
	// create makes the keyset if this source can. It never replaces one.
	create() (*keyset.Handle, error)
	// replace puts another keyset in the place of one that is there, if this source can.
	replace(was, next *keyset.Handle) error
	// fixed says why this source cannot be changed by this program, in the chain of errByHand. Nil: it can.
	fixed() error
	// String names the source for people, never its content.
	String() string
}

var errNoMasterKey = errors.New("there is no master key")

// MasterKeyFile is a file that holds the keyset in clear, as Tink writes it in JSON. It is made on first start, for its
// owner only. A file is refused that others may read or change, that belongs to another user than this process's or root, or
// that stands in a directory in which anybody may put another one in its place.
func MasterKeyFile(path string) MasterKey { return masterKeyFile(path) }

// MasterKeyEnv is an environment variable that holds the keyset: the JSON of [NewMasterKeyset], or its base64.
func MasterKeyEnv(name string) MasterKey { return masterKeyEnv(name) }

// MasterKeyText is a keyset in hand, in JSON.
func MasterKeyText(text []byte) MasterKey { return masterKeyText(text) }

// NewMasterKeyset is a fresh keyset in JSON, for whoever keeps it elsewhere than in a file. It is a secret.
func NewMasterKeyset() ([]byte, error) {
	handle, err := newKeyset()
	if err != nil {
		return nil, err
	}
	return writeKeyset(handle)
}

type masterKeyFile string

func (f masterKeyFile) String() string { return fmt.Sprintf("the master key file %q", string(f)) }

func (f masterKeyFile) load() (*keyset.Handle, error) {
	text, err := f.read()
	defer func() { clear(text) }() // what can be wiped is
	if err != nil {
		return nil, err
	}
	return readKeyset(f, text)
}

// read is the content of the file, once it is judged.
func (f masterKeyFile) read() ([]byte, error) {
	info, err := os.Stat(string(f)) // follows links: mounted secrets are some
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errNoMasterKey
	case err != nil:
		return nil, fmt.Errorf("%v cannot be read: %w", f, err)
	case !info.Mode().IsRegular(): // before it is opened: a pipe would wait for a writer
		return nil, fmt.Errorf("%v is not a regular file", f)
	}
	return f.readOpen()
}

// readOpen opens the file, judges it, and reads it.
func (f masterKeyFile) readOpen() ([]byte, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return nil, fmt.Errorf("%v cannot be read: %w", f, err)
	}
	defer file.Close()
	if err := f.check(file); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyset))
	if err != nil {
		clear(text)
		return nil, fmt.Errorf("%v cannot be read: %w", f, err)
	}
	return text, nil
}

// maxKeyset bounds what is read for a keyset, in bytes.
const maxKeyset = 1 << 20

// check judges the file that is open, and not the name, which may lead to another one by now.
func (f masterKeyFile) check(file *os.File) error {
	info, err := file.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%v cannot be read: %w", f, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%v is not a regular file", f)
	case info.Size() > maxKeyset:
		return fmt.Errorf("%v holds no keyset", f)
	case runtime.GOOS == "windows": // its modes say nothing
		return nil
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%v may be read or changed by others (mode %04o): run chmod 600 on it", f, info.Mode().Perm())
	case !trustedOwner(info):
		return fmt.Errorf("%v belongs to another user than the one who runs this: run chown on it", f)
	}
	if err := checkPrivateDir(filepath.Dir(string(f))); err != nil {
		return fmt.Errorf("%v is not safe: %w", f, err)
	}
	return nil
}

// create writes the file whole under another name and then gives it its name: after a crash at any moment there is
// either no master key or a good one.
func (f masterKeyFile) create() (*keyset.Handle, error) {
	handle, err := newKeyset()
	if err != nil {
		return nil, err
	}
	text, err := writeKeyset(handle)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if err := createFile(string(f), text); err != nil {
		return nil, fmt.Errorf("%v cannot be made: %w", f, err)
	}
	// What counts is what stands in the file: another process may have been first.
	return f.load()
}

func createFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".master-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace a file that is there.
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err = d.Sync(); runtime.GOOS == "windows" {
		err = nil // directories cannot be synced there
	}
	return errors.Join(err, d.Close())
}

type masterKeyEnv string

func (e masterKeyEnv) String() string { return fmt.Sprintf("the environment variable %s", string(e)) }

func (e masterKeyEnv) load() (*keyset.Handle, error) {
	text := bytes.TrimSpace([]byte(os.Getenv(string(e))))
	if len(text) == 0 {
		return nil, errNoMasterKey
	}
	if text[0] != '{' {
		decoded, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return nil, notKeyset(e)
		}
		text = decoded
	}
	return readKeyset(e, text)
}

func (e masterKeyEnv) create() (*keyset.Handle, error) {
	return nil, fmt.Errorf("%v is empty: it must hold the master keyset", e)
}

type masterKeyText []byte

func (masterKeyText) String() string { return "the master key given" }

func (t masterKeyText) load() (*keyset.Handle, error) { return readKeyset(t, t) }

func (t masterKeyText) create() (*keyset.Handle, error) { return nil, notKeyset(t) }

func newKeyset() (*keyset.Handle, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("making a master keyset: %w", err)
	}
	return handle, nil
}

func writeKeyset(handle *keyset.Handle) ([]byte, error) {
	var buf bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&buf)); err != nil {
		return nil, fmt.Errorf("writing a master keyset: %w", err)
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

func readKeyset(from fmt.Stringer, text []byte) (*keyset.Handle, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		if wrapped, err := keyset.NewJSONReader(bytes.NewReader(text)).ReadEncrypted(); err == nil && len(wrapped.GetEncryptedKeyset()) > 0 {
			return nil, fmt.Errorf("%v holds a keyset that a key management service has encrypted: name the service's key", from)
		}
		return nil, notKeyset(from) // not err: a parser's words may quote the secret
	}
	return handle, nil
}

func notKeyset(from fmt.Stringer) error {
	return fmt.Errorf("%v holds no keyset in Tink's JSON form", from)
}
