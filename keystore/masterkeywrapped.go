package keystore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// MasterKeyWrapped is a file that holds the keyset encrypted by a key that is elsewhere, in a key management service: the
// file alone opens nothing. It is made on first start. name is what people call that key; connect is called at each use.
func MasterKeyWrapped(path, name string, connect func(context.Context) (tink.AEADWithContext, error)) MasterKey {
	return &masterKeyWrapped{file: masterKeyFile(path), name: name, connect: connect}
}

type masterKeyWrapped struct {
	file    masterKeyFile
	name    string
	connect func(context.Context) (tink.AEADWithContext, error)
}

const (
	// wrapTime bounds one question to the service.
	wrapTime = 30 * time.Second
	// maxWrapError bounds what is repeated of its answer.
	maxWrapError = 300
)

// wrappedFor is what a wrapped keyset is bound to: what the service encrypted for another purpose does not open here.
var wrappedFor = []byte("keystile master keyset")

func (w *masterKeyWrapped) String() string {
	return fmt.Sprintf("the master key file %q, encrypted by %s", string(w.file), w.name)
}

func (w *masterKeyWrapped) load() (*keyset.Handle, error) {
	text, err := w.file.read()
	if err != nil {
		return nil, err
	}
	kek, ctx, cancel, err := w.dial()
	if err != nil {
		return nil, err
	}
	defer cancel()
	handle, err := keyset.ReadWithContext(ctx, keyset.NewJSONReader(bytes.NewReader(text)), kek, wrappedFor)
	if err != nil {
		return nil, w.failed("opening it", err)
	}
	return handle, nil
}

func (w *masterKeyWrapped) create() (*keyset.Handle, error) {
	handle, err := newKeyset()
	if err != nil {
		return nil, err
	}
	text, err := w.wrap(handle)
	if err != nil {
		return nil, err
	}
	if err := createFile(string(w.file), text); err != nil {
		return nil, fmt.Errorf("%v cannot be made: %w", w, err)
	}
	return w.load() // another process may have been first
}

func (w *masterKeyWrapped) fixed() error { return w.file.fixed() }

func (w *masterKeyWrapped) replace(was, next *keyset.Handle) error {
	if err := w.fixed(); err != nil {
		return err
	}
	there, err := w.load()
	if err != nil {
		return err
	}
	if !sameKeys(there, was) {
		return otherKeys(w)
	}
	text, err := w.wrap(next)
	if err != nil {
		return err
	}
	if err := replaceFile(string(w.file), text); err != nil {
		return fmt.Errorf("%v cannot be written: %w", w, err)
	}
	return nil
}

func (w *masterKeyWrapped) tidy() error { return w.file.tidy() }

func (w *masterKeyWrapped) dial() (tink.AEADWithContext, context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wrapTime)
	kek, err := w.connect(ctx)
	if err != nil {
		cancel()
		return nil, nil, nil, w.failed("reaching the service", err)
	}
	return kek, ctx, cancel, nil
}

func (w *masterKeyWrapped) wrap(handle *keyset.Handle) ([]byte, error) {
	kek, ctx, cancel, err := w.dial()
	if err != nil {
		return nil, err
	}
	defer cancel()
	var buf bytes.Buffer
	if err := handle.WriteWithContext(ctx, keyset.NewJSONWriter(&buf), kek, wrappedFor); err != nil {
		return nil, w.failed("encrypting it", err)
	}
	buf.WriteByte('\n')
	return buf.Bytes(), nil
}

// failed words an answer of the service in one line.
func (w *masterKeyWrapped) failed(doing string, err error) error {
	text := bytes.ReplaceAll([]byte(err.Error()), []byte("\n"), []byte(" "))
	return fmt.Errorf("%v: %s: %s", w, doing, text[:min(len(text), maxWrapError)])
}
