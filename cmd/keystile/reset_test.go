//go:build linux

package main_test

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// framesOf counts the frames that the server sends on a connection until it ends, by their kinds.
func framesOf(conn net.Conn) <-chan map[http2.FrameType]int {
	done := make(chan map[http2.FrameType]int, 1)
	go func() {
		seen := make(map[http2.FrameType]int)
		for framer := http2.NewFramer(io.Discard, conn); ; {
			frame, err := framer.ReadFrame()
			if err != nil {
				done <- seen
				return
			}
			seen[frame.Header().Type]++
		}
	}()
	return done
}

// TestRapidResetEndsTheConnection: who opens streams and resets them all the time loses the connection, and nobody else notices. A trusted
// proxy, whose connections carry others' requests too, keeps it.
func TestRapidResetEndsTheConnection(t *testing.T) {
	b := newLoadBed(t)
	token := inventToken("sk_live_", "r")
	conn, err := gatetest.DialFrom("", b.site)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	frames := framesOf(conn)
	resetStreams(t.Context(), conn, token, 3000)
	select {
	case seen := <-frames: // by the server: this end is open
		if seen[http2.FrameGoAway] == 0 {
			t.Errorf("the connection ended without GOAWAY: %v", seen)
		}
	case <-time.After(time.Minute):
		t.Fatal("3000 streams were reset on a connection, and it goes on")
	}
	if n := readMetrics(t, b.Gateway)["caddy_keystile_resets_total"]; n == 0 {
		t.Error("caddy_keystile_resets_total counts none")
	}
	b.customer(t, 100*time.Millisecond)

	proxy, err := gatetest.DialFrom(gatetest.TrustedProxy, b.site)
	if err != nil {
		t.Fatal(err)
	}
	frames = framesOf(proxy)
	n := resetStreams(t.Context(), proxy, token, 3000)
	if err := http2.NewFramer(proxy, nil).WritePing(false, [8]byte{1}); n != 3000 || err != nil {
		t.Fatalf("a trusted proxy could open %d of 3000 streams, then %v", n, err)
	}
	awaitAccounted(t, b.Gateway)
	time.AfterFunc(time.Second, func() { proxy.Close() }) // GOAWAY, if there is one, has come by then: it went before the answers
	if seen := <-frames; seen[http2.FrameGoAway] != 0 || seen[http2.FramePing] == 0 {
		t.Errorf("the connection of a trusted proxy got %v, want a PING answered and no GOAWAY", seen)
	}
}

// TestResetStreamsAreLetGo: a deadline that Caddy sets on a stream which is closed already held the stream and its request for a minute, so
// that rapid reset took a gigabyte of memory.
func TestResetStreamsAreLetGo(t *testing.T) {
	b := newLoadBed(t)
	b.customer(t, 100*time.Millisecond)
	reset := func(streams int) {
		conn, err := gatetest.DialFrom(gatetest.TrustedProxy, b.site) // never ended for it
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		if n := resetStreams(t.Context(), conn, inventToken("sk_live_", "r"), streams); n != streams {
			t.Fatalf("%d of %d streams were opened", n, streams)
		}
		awaitAccounted(t, b.Gateway)
	}
	reset(2000) // buffers have their size
	before := liveHeap(t, b.Gateway)
	const streams = 16_000
	for range 8 {
		reset(streams / 8)
	}
	if grown := liveHeap(t, b.Gateway) - before; grown > streams*400 {
		t.Errorf("%d KiB are held after %d streams were reset", grown>>10, streams)
	}
}
