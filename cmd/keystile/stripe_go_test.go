package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"

	"github.com/keystile/keystile/cmd/keystile/internal/gatetest"
)

// stripeClient is the official client, pointed at the gateway.
func (s *stripeBed) stripeClient(url, token string, client *http.Client) *stripe.Client {
	backends := stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL:               stripe.String(url),
		HTTPClient:        client,
		MaxNetworkRetries: stripe.Int64(0),
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	})
	return stripe.NewClient(token, stripe.WithBackends(backends))
}

// wantStripeError wants the SDK's error with a status, type and code, and a request id.
func wantStripeError(t *testing.T, err error, w want) *stripe.Error {
	t.Helper()
	var e *stripe.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want the SDK's error", err)
	}
	if e.HTTPStatusCode != w.status || string(e.Type) != w.typ || string(e.Code) != w.code {
		t.Errorf("got %d %s %s, want %d %s %s (%s)", e.HTTPStatusCode, e.Type, e.Code, w.status, w.typ, w.code, e.Msg)
	}
	if !strings.HasPrefix(e.RequestID, "req_") {
		t.Errorf("got request id %q", e.RequestID)
	}
	return e
}

// TestStripeGo: the official Go client does its work through the gateway in front of stripe-mock, over HTTP and over HTTPS
// with HTTP/2.
func TestStripeGo(t *testing.T) {
	s := theStripeBed(t)
	root, err := os.ReadFile(filepath.Join(s.DataDir(), "pki", "authorities", "local", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		t.Fatal("the gateway's root certificate cannot be read")
	}
	secure := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}}
	t.Cleanup(secure.CloseIdleConnections)
	t.Run("HTTP", func(t *testing.T) { s.goCalls(t, "http://"+s.httpAddr, http.DefaultClient, "HTTP/1.1") })
	t.Run("HTTPS and HTTP/2", func(t *testing.T) { s.goCalls(t, "https://"+s.httpsAddr, secure, "HTTP/2.0") })
}

func (s *stripeBed) goCalls(t *testing.T, url string, client *http.Client, protocol string) {
	ctx := t.Context()
	with := func(name string) (*stripe.Client, gatetest.Key) {
		key := s.keys[name]
		return s.stripeClient(url, key.Token, client), key
	}
	t.Run("sandbox secret key", func(t *testing.T) {
		c, key := with("secret")
		before := s.count()
		charge, err := c.V1Charges.Create(ctx, &stripe.ChargeCreateParams{Amount: stripe.Int64(2000), Currency: stripe.String("usd")})
		if err != nil || charge.Object != "charge" {
			t.Fatalf("creating a charge: %+v, %v", charge, err)
		}
		id := charge.LastResponse.RequestID
		record := s.Admin.AwaitRecord(t, id)
		if record["protocol"] != protocol || record["resource"] != "charge" || record["required_permission"] != "charge_write" || record["decision"] != "allowed" {
			t.Errorf("got the record %v, want %s, charge, charge_write, allowed", record, protocol)
		}
		customer, err := c.V1Customers.Retrieve(ctx, "cus_123", nil)
		if err != nil || customer.Object != "customer" {
			t.Fatalf("retrieving a customer: %+v, %v", customer, err)
		}
		if _, err := c.V1Customers.Update(ctx, "cus_123", &stripe.CustomerUpdateParams{Name: stripe.String("Ä B")}); err != nil {
			t.Errorf("updating a customer: %v", err)
		}
		if _, err := c.V1Customers.Delete(ctx, "cus_123", nil); err != nil {
			t.Errorf("deleting a customer: %v", err)
		}
		if _, err := c.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(1), Currency: stripe.String("usd")}); err != nil {
			t.Errorf("creating a payment intent: %v", err)
		}
		s.wantMock(t, before, 5, key)
	})
	t.Run("pagination", func(t *testing.T) {
		c, key := with("secret")
		before := s.count()
		params := &stripe.CustomerListParams{}
		params.Limit = stripe.Int64(3)
		n := 0
		for customer, err := range c.V1Customers.List(ctx, params).All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if customer.Object != "customer" {
				t.Errorf("got a %s", customer.Object)
			}
			n++
		}
		if n == 0 {
			t.Error("the list is empty")
		}
		s.wantMock(t, before, 1, key)
	})
	t.Run("idempotent POST", func(t *testing.T) {
		c, key := with("secret")
		before := s.count()
		for range 2 {
			params := &stripe.CustomerCreateParams{Email: stripe.String("a@example.com")}
			params.IdempotencyKey = stripe.String("go-1")
			customer, err := c.V1Customers.Create(ctx, params)
			if err != nil {
				t.Fatal(err)
			}
			if record := s.Admin.AwaitRecord(t, customer.LastResponse.RequestID); record["idempotency_key"] != "go-1" {
				t.Errorf("got idempotency_key %v in the record", record["idempotency_key"])
			}
		}
		s.wantMock(t, before, 2, key)
		for _, r := range s.since(before) {
			if r.idempotencyKey != "go-1" {
				t.Errorf("the mock got the idempotency key %q", r.idempotencyKey)
			}
		}
	})
	t.Run("restricted key", func(t *testing.T) {
		c, key := with("restricted")
		before := s.count()
		if _, err := c.V1Customers.Retrieve(ctx, "cus_123", nil); err != nil {
			t.Errorf("reading a customer: %v", err)
		}
		s.wantMock(t, before, 1, key)
		_, err := c.V1Customers.Create(ctx, &stripe.CustomerCreateParams{})
		if e := wantStripeError(t, err, notPermitted); !strings.Contains(e.Msg, "customer_write") {
			t.Errorf("the message names no permission: %s", e.Msg)
		}
		_, err = c.V1Charges.Create(ctx, &stripe.ChargeCreateParams{Amount: stripe.Int64(1), Currency: stripe.String("usd")})
		wantStripeError(t, err, notPermitted)
		_, err = c.V1Balance.Retrieve(ctx, nil)
		wantStripeError(t, err, notPermitted)
		s.wantMock(t, before, 1, key)
	})
	t.Run("organization key", func(t *testing.T) {
		c, key := with("organization")
		before := s.count()
		params := &stripe.CustomerRetrieveParams{}
		params.SetStripeContext(s.account)
		if _, err := c.V1Customers.Retrieve(ctx, "cus_123", params); err != nil {
			t.Errorf("with a context: %v", err)
		}
		s.wantMock(t, before, 1, key)
		if got := s.since(before); len(got) == 1 && got[0].account != s.account {
			t.Errorf("the mock got the account %q, want %q", got[0].account, s.account)
		}
		_, err := c.V1Customers.Retrieve(ctx, "cus_123", nil)
		wantStripeError(t, err, contextNeeded)
		other := &stripe.CustomerRetrieveParams{}
		other.SetStripeContext("acct_0000000000000000")
		_, err = c.V1Customers.Retrieve(ctx, "cus_123", other)
		wantStripeError(t, err, accountInvalid)
		s.wantMock(t, before, 1, key)
	})
	t.Run("live key", func(t *testing.T) {
		c, _ := with("live")
		before, live := s.count(), s.live.Count()
		// The live backend of this test is no Stripe: what it answers does not matter, where the request goes does.
		_, _ = c.V1Customers.Retrieve(ctx, "cus_123", nil)
		if s.count() != before {
			t.Error("a live key reached the sandbox backend")
		}
		if s.live.Count() != live+1 {
			t.Errorf("the live backend was asked %d times, want 1", s.live.Count()-live)
		}
	})
	t.Run("publishable key", func(t *testing.T) {
		c, key := with("publishable")
		before := s.count()
		_, err := c.V1Customers.Retrieve(ctx, "cus_123", nil)
		wantStripeError(t, err, secretRequired)
		s.wantMock(t, before, 0, key)
	})
	t.Run("deleted key", func(t *testing.T) {
		c, key := with("deleted")
		before := s.count()
		_, err := c.V1Customers.Retrieve(ctx, "cus_123", nil)
		wantStripeError(t, err, expired)
		s.wantMock(t, before, 0, key)
	})
	t.Run("imported key", func(t *testing.T) {
		c, key := with("imported")
		before := s.count()
		if _, err := c.V1Balance.Retrieve(ctx, nil); err != nil {
			t.Errorf("the imported key: %v", err)
		}
		s.wantMock(t, before, 1, key)
		_, err := s.stripeClient(url, "sk_test_1234", client).V1Balance.Retrieve(ctx, nil)
		wantStripeError(t, err, invalid)
	})
}
