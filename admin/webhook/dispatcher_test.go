package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystile/keystile/keystore"
	"github.com/keystile/keystile/keystore/keystoretest"
)

var by = keystore.Actor{Kind: "local", Name: "test"}

// network is what endpoints answer, in tests with a clock of their own.
type network struct {
	mu     sync.Mutex
	answer func(url string) (int, error)
	posts  []post
}

type post struct {
	url, event string
	typ        keystore.EventType
	at         time.Time
}

func (n *network) post(ctx context.Context, url string, _ http.Header, body []byte) (int, error) {
	var e keystore.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return 0, err
	}
	n.mu.Lock()
	n.posts = append(n.posts, post{url, e.ID, e.Type, time.Now()})
	answer := n.answer
	n.mu.Unlock()
	if answer == nil {
		return 200, nil
	}
	return answer(url)
}

func (n *network) set(answer func(string) (int, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answer = answer
}

// at is the posts to a URL so far.
func (n *network) at(url string) []post {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []post
	for _, p := range n.posts {
		if p.url == url {
			out = append(out, p)
		}
	}
	return out
}

var errDown = errors.New("down")

func down(string) (int, error) { return 503, errDown }

// testStore is a store for a bubble: its cache ends a while after it.
func testStore(t *testing.T, b keystore.Backend) *keystore.Store {
	t.Helper()
	t.Cleanup(func() { time.Sleep(time.Hour) })
	return keystoretest.NewStore(t, keystore.Options{Backend: b})
}

func testDispatcher(t *testing.T, s *keystore.Store, n *network) *Dispatcher {
	t.Helper()
	d, err := newDispatcher(Options{Store: s, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	d.post = n.post
	d.start()
	return d
}

func mustEndpoint(t *testing.T, s *keystore.Store, url string, events ...string) *keystore.WebhookEndpoint {
	t.Helper()
	w, _, err := s.CreateWebhookEndpoint(t.Context(), by, keystore.WebhookParams{URL: url, Events: events})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// mustAccount makes an account, which makes four key.created events.
func mustAccount(t *testing.T, s *keystore.Store) {
	t.Helper()
	if _, _, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"}); err != nil {
		t.Fatal(err)
	}
}

func mustState(t *testing.T, s *keystore.Store, w *keystore.WebhookEndpoint) *keystore.WebhookState {
	t.Helper()
	state, err := s.WebhookState(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

const one, two = "https://one.example/", "https://two.example/"

// TestRetries: an event is tried again with growing pauses, the ones after it wait for it and come in order, and what was
// before the endpoint never comes.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		mustAccount(t, s)
		w := mustEndpoint(t, s, one, "key.created")
		tries := 0
		n.set(func(string) (int, error) {
			if tries++; tries <= 4 {
				return 500, errDown
			}
			return 204, nil
		})
		mustAccount(t, s)
		time.Sleep(time.Hour)
		posts := n.at(one)
		if len(posts) != 8 {
			t.Fatalf("%d posts, want 4 that fail and 4 events", len(posts))
		}
		for i := range 4 {
			if posts[i].event != posts[4].event {
				t.Errorf("try %d is of another event", i)
			}
			wait := firstRetry
			for range i {
				wait *= 3
			}
			if got := posts[i+1].at.Sub(posts[i].at); got < wait*8/10 || got > wait*12/10 {
				t.Errorf("pause %d lasts %v, want about %v", i, got, wait)
			}
		}
		var order []string
		for _, p := range posts[4:] {
			order = append(order, p.event)
			if p.typ != keystore.EventKeyCreated {
				t.Errorf("told of %s", p.typ)
			}
		}
		if !slices.IsSorted(order) || len(slices.Compact(slices.Clone(order))) != 4 {
			t.Errorf("the order is %v", order)
		}
		log := mustState(t, s, w).Attempts
		if len(log) != 8 || log[7].Outcome != keystore.WebhookRetrying || log[7].Status != 500 || log[7].Error != "down" || log[7].Next.IsZero() ||
			log[3].Outcome != keystore.WebhookDelivered || log[3].Attempt != 5 || log[3].Status != 204 || !log[3].Next.IsZero() || log[0].Attempt != 1 {
			t.Errorf("the log is %+v", log)
		}
	})
}

// TestGivesUp: three days after an event it is given up, and the next one is tried.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		w := mustEndpoint(t, s, one, "*")
		n.set(down)
		mustAccount(t, s)
		begun := time.Now()
		time.Sleep(giveUpAfter - time.Minute)
		first := n.at(one)
		for _, p := range first {
			if p.event != first[0].event {
				t.Fatal("the next event did not wait")
			}
		}
		if len(first) < 15 || len(first) > 25 {
			t.Errorf("%d tries in three days", len(first))
		}
		time.Sleep(2 * time.Minute)
		log := mustState(t, s, w).Attempts
		i := slices.IndexFunc(log, func(l keystore.WebhookDelivery) bool { return l.Outcome == keystore.WebhookGivenUp })
		if i < 0 || log[i].Event != first[0].event || !log[i].Next.IsZero() || log[i].At.Sub(begun).Round(time.Second) != giveUpAfter {
			t.Fatalf("not given up: %+v", log[:3])
		}
		n.set(nil)
		time.Sleep(time.Hour)
		if state := mustState(t, s, w); state.Pending != nil || state.Attempts[0].Outcome != keystore.WebhookDelivered {
			t.Errorf("after it is back: %+v", state.Attempts[0])
		}
	})
}

// TestSlowEndpoint: an endpoint that takes its time delays nobody else, and a deleted one is left alone.
func TestSlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		d := testDispatcher(t, s, n)
		defer d.Close()
		slow := mustEndpoint(t, s, one, "*")
		mustEndpoint(t, s, two, "*")
		n.set(func(url string) (int, error) {
			if url == one {
				time.Sleep(attemptTime)
				return 0, errTime
			}
			return 200, nil
		})
		begun := time.Now()
		mustAccount(t, s)
		time.Sleep(time.Second)
		if got := n.at(two); len(got) != 4 || got[3].at != begun {
			t.Errorf("the fast endpoint got %d events", len(got))
		}
		if err := s.DeleteWebhookEndpoint(t.Context(), by, slow.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if got := len(n.at(one)); got != 1 {
			t.Errorf("the deleted endpoint was asked %d times, want once", got)
		}
	})
}

// TestRestart: a new process goes on where the one before it was, with what happened in between.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend, n := keystoretest.NewMemory(), new(network)
		open := func() *keystore.Store {
			return testStore(t, backend.Reopen())
		}
		s := open()
		d := testDispatcher(t, s, n)
		w := mustEndpoint(t, s, one, "*")
		mustAccount(t, s)
		synctest.Wait()
		n.set(down)
		mustAccount(t, s)
		time.Sleep(40 * time.Second) // 3 tries fail
		before := n.at(one)
		d.Close()
		mustAccount(t, s) // nobody delivers
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		n.set(nil)

		s = open()
		d = testDispatcher(t, s, n)
		defer d.Close()
		synctest.Wait()
		if got := len(n.at(one)); got != len(before) {
			t.Errorf("the restart made %d tries before their time", got-len(before))
		}
		time.Sleep(time.Hour)
		after := n.at(one)[len(before):]
		if len(after) != 8 || after[0].event != before[len(before)-1].event {
			t.Fatalf("after the restart: %d posts, want 8 from the one that failed on", len(after))
		}
		if !slices.IsSortedFunc(after, func(a, b post) int { return strings.Compare(a.event, b.event) }) {
			t.Error("out of order")
		}
		if log := mustState(t, s, w).Attempts; log[7].Attempt != 4 {
			t.Errorf("the first try after the restart has number %d, want 4", log[7].Attempt)
		}
	})
}

// TestLease: of two processes one delivers, and the other one when the first has ended.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a, b := testStore(t, keystoretest.NewMemory()), new(network), new(network)
		first := testDispatcher(t, s, a)
		mustEndpoint(t, s, one, "*")
		mustAccount(t, s)
		synctest.Wait()
		second := testDispatcher(t, s, b)
		defer second.Close()
		mustAccount(t, s)
		time.Sleep(5 * time.Second)
		if got := len(a.at(one)); got != 8 || len(b.at(one)) != 0 {
			t.Errorf("the first delivered %d, the second %d", got, len(b.at(one)))
		}
		first.Close()
		mustAccount(t, s)
		time.Sleep(5 * time.Second)
		if got := len(b.at(one)); got != 4 {
			t.Errorf("the second delivered %d, want 4", got)
		}
	})
}

// TestClockSetBack: a retry that a wrong clock has put far into the future is made now.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n := testStore(t, keystoretest.NewMemory()), new(network)
		w := mustEndpoint(t, s, one, "*")
		mustAccount(t, s)
		state := mustState(t, s, w)
		news, _, err := s.NextWebhookEvent(t.Context(), w, w.From, 100)
		if err != nil || news == nil {
			t.Fatal(news, err)
		}
		year := time.Now().AddDate(1, 0, 0)
		state.Pending = &keystore.WebhookPending{Seq: news.Place.Seq, First: year, Attempts: 1, Next: year}
		if err := s.SaveWebhookState(t.Context(), w.ID, state); err != nil {
			t.Fatal(err)
		}
		d := testDispatcher(t, s, n)
		defer d.Close()
		synctest.Wait()
		if got := len(n.at(one)); got != 4 {
			t.Errorf("%d posts, want 4", got)
		}
	})
}

// TestDelivery is one delivery over a real connection, as a receiver sees it.
func TestDelivery(t *testing.T) {
	t.Parallel()
	type request struct {
		header http.Header
		body   []byte
	}
	got := make(chan request, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Header, body}
	}))
	defer server.Close()
	s := keystoretest.NewStore(t, keystore.Options{})
	d, err := Start(Options{Store: s, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.SetPrivate(true)
	_, secret, err := s.CreateWebhookEndpoint(t.Context(), by, keystore.WebhookParams{URL: server.URL + "/hooks", Events: []string{"key.created"}})
	if err != nil {
		t.Fatal(err)
	}
	_, keys, err := s.CreateAccount(t.Context(), by, keystore.AccountParams{Name: "A"})
	if err != nil {
		t.Fatal(err)
	}
	r := <-got
	var e keystore.Event
	if err := json.Unmarshal(r.body, &e); err != nil || e.Type != keystore.EventKeyCreated || e.Object != keys[0].ID {
		t.Errorf("the body is %s (%v)", r.body, err)
	}
	at, _, _ := strings.Cut(strings.TrimPrefix(r.header.Get(SignatureHeader), "t="), ",")
	var unix int64
	if err := json.Unmarshal([]byte(at), &unix); err != nil {
		t.Fatal(err)
	}
	if want := Sign(time.Unix(unix, 0), r.body, secret.Reveal()); r.header.Get(SignatureHeader) != want {
		t.Errorf("signed %s, want %s", r.header.Get(SignatureHeader), want)
	}
	if r.header.Get("Content-Type") != "application/json" || r.header.Get("User-Agent") != userAgent {
		t.Errorf("headers %v", r.header)
	}
	if strings.Contains(string(r.body), secret.Reveal()) {
		t.Error("the body holds the secret")
	}
}
