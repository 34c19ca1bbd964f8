package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// drivePaced sends requests at a fixed rate, whatever the server does: request n is due at n/rate, over one connection after the
// other, and its latency counts from then on. A server that falls behind cannot make the load wait for it, as it can with wrk.
func drivePaced(s *scenario, p *prepared, keyless bool, duration time.Duration) (*driven, error) {
	requests, err := renderRequests(p.requests)
	if err != nil {
		return nil, err
	}
	total := int(duration.Seconds() * float64(s.rate))
	took := make([]time.Duration, total)
	refused := make([]int64, s.connections)
	errs := make([]error, s.connections)
	begin := time.Now().Add(50 * time.Millisecond) // all connections are open by then
	var all sync.WaitGroup
	for c := range s.connections {
		all.Go(func() {
			conn, err := dialSite()
			if err != nil {
				errs[c] = err
				return
			}
			defer conn.Close()
			for n := c; n < total; n += s.connections {
				due := begin.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
				time.Sleep(time.Until(due))
				status, err := conn.exchange(requests[n%len(requests)])
				if err != nil {
					errs[c] = err
					return
				}
				took[n] = time.Since(due)
				if status >= 400 {
					refused[c]++
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("at %d requests a second: %w", s.rate, err)
	}
	d := &driven{requests: int64(total), seconds: time.Since(begin).Seconds()}
	for _, n := range refused {
		d.refused += n
	}
	slices.Sort(took)
	d.p50, d.p99 = took[total/2].Seconds()*1e3, took[total*99/100].Seconds()*1e3
	return d, d.check(s, keyless)
}

// renderRequests reads the load, as bytes to be sent.
func renderRequests(path string) ([][]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var requests [][]byte
	for line := range strings.Lines(string(text)) {
		target, token, _ := strings.Cut(strings.TrimSpace(line), " ")
		requests = append(requests, fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nAuthorization: Bearer %s\r\n"+
			"User-Agent: Stripe/v1 GoBindings/85.0.0\r\n\r\n", target, siteAddress, token))
	}
	return requests, nil
}

// siteConn is a connection to the subject that costs little: it must not take from the server what it measures.
type siteConn struct {
	net.Conn
	in *bufio.Reader
}

func dialSite() (*siteConn, error) {
	conn, err := net.Dial("tcp", siteAddress)
	if err != nil {
		return nil, err
	}
	return &siteConn{conn, bufio.NewReader(conn)}, nil
}

// exchange sends a request and reads the answer, which has a known length.
func (c *siteConn) exchange(request []byte) (status int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	length := -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if first && len(line) > 12 {
			status, _ = strconv.Atoi(string(line[9:12]))
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
		}
	}
	if status == 0 || length < 0 {
		return 0, fmt.Errorf("an answer with status %d and length %d", status, length)
	}
	_, err = io.CopyN(io.Discard, c.in, int64(length))
	return status, err
}
