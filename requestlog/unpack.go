package requestlog

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxUnpackWindow bounds the memory that a zstd frame may ask for.
const maxUnpackWindow = 8 << 20

// Unpack answers at most so many bytes of what the beginning of a body holds, by its Content-Encoding. more says that the
// whole body may hold more. ok is false where the coding is not known, or the text is not what it says.
//
// It never reads more than it answers, so that a small text that unpacks to a large one costs nothing.
func Unpack(coding string, head []byte, most int) (text []byte, more, ok bool) {
	var from io.Reader
	var err error
	in := bytes.NewReader(head)
	switch strings.ToLower(strings.TrimSpace(coding)) {
	case "", "identity":
		return head[:min(len(head), most)], len(head) > most, true
	case "gzip", "x-gzip":
		from, err = gzip.NewReader(in)
	case "deflate":
		if from, err = zlib.NewReader(in); err != nil { // some mean it without zlib's frame
			from, err = flate.NewReader(bytes.NewReader(head)), nil
		}
	case "zstd":
		var decoder *zstd.Decoder
		decoder, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxUnpackWindow))
		if err == nil {
			defer decoder.Close()
			from = decoder
		}
	default:
		return nil, false, false
	}
	if err != nil {
		return nil, false, false
	}
	text, err = io.ReadAll(io.LimitReader(from, int64(most)+1))
	switch {
	case len(text) > most:
		return text[:most], true, true
	case err == nil:
		return text, false, true
	case errors.Is(err, io.ErrUnexpectedEOF) && len(text) > 0: // head is only a beginning
		return text, true, true
	default:
		return nil, false, false
	}
}
