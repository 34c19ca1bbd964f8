package gatetest

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// readRequest reads one HTTP/1.1 request and keeps names and values as they stand. It is strict: a line without CRLF, two
// lengths, or a length beside a transfer coding are errors, since a gateway must never send them on.
func readRequest(in *bufio.Reader, proceed func()) (*Received, error) {
	line, err := readLine(in)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(line, " ")
	if len(parts) != 3 {
		return nil, fmt.Errorf("request line %q does not have three parts", line)
	}
	r := &Received{Method: parts[0], Target: parts[1], Protocol: parts[2]}
	if !strings.HasPrefix(r.Protocol, "HTTP/1.") {
		return nil, fmt.Errorf("request line %q names no HTTP/1 protocol", line)
	}
	if r.Header, err = readFields(in); err != nil {
		return nil, err
	}
	lengths, chunked := []string(nil), false
	for _, f := range r.Header {
		switch fold(f.Name) {
		case "content-length":
			lengths = append(lengths, f.Value)
		case "transfer-encoding":
			if !strings.EqualFold(f.Value, "chunked") {
				return nil, fmt.Errorf("transfer coding %q", f.Value)
			}
			chunked = true
		case "expect":
			proceed()
		}
	}
	if len(lengths) > 1 || (len(lengths) == 1 && chunked) {
		return nil, fmt.Errorf("ambiguous length in %q: %q, chunked %v", line, lengths, chunked)
	}
	var body strings.Builder
	switch {
	case chunked:
		if r.Trailer, err = readChunks(in, &body); err != nil {
			return nil, err
		}
	case len(lengths) == 1:
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("content length %q", lengths[0])
		}
		if _, err := io.CopyN(&body, in, n); err != nil {
			return nil, fmt.Errorf("reading a body of %d bytes: %w", n, err)
		}
	}
	r.Body = body.String()
	return r, nil
}

func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		if line == "" {
			return "", err
		}
		return "", fmt.Errorf("a line ends early, %q: %w", line, err)
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("line %q does not end in CRLF", line)
	}
	return text, nil
}

func readFields(in *bufio.Reader) ([]Field, error) {
	var fields []Field
	for {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		if line == "" {
			return fields, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, fmt.Errorf("header line %q", line)
		}
		fields = append(fields, Field{Name: name, Value: strings.Trim(value, " \t")})
	}
}

func readChunks(in *bufio.Reader, body *strings.Builder) ([]Field, error) {
	for {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			return readFields(in)
		}
		if _, err := io.CopyN(body, in, n); err != nil {
			return nil, fmt.Errorf("reading a chunk of %d bytes: %w", n, err)
		}
		if line, err := readLine(in); err != nil || line != "" {
			return nil, fmt.Errorf("a chunk ends in %q: %w", line, err)
		}
	}
}
