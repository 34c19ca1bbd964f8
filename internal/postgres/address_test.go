package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystile/keystile/internal/postgres"
)

// TestPlace: an address is shown as its servers and its database, in whatever way it was written.
func TestPlace(t *testing.T) {
	t.Parallel()
	tests := []struct{ dsn, want string }{
		{"postgres://jenny:s3cret@db.example.com:5433/keys", "postgres db.example.com:5433/keys"},
		{"postgresql://jenny:s3cret@db.example.com/keys", "postgres db.example.com:5432/keys"},
		{"postgres://jenny:s3cret@db.example.com/keys?sslmode=disable", "postgres db.example.com:5432/keys"},
		{"postgres://jenny:s3cret@db.example.com/keys?sslmode=prefer", "postgres db.example.com:5432/keys"},
		{"postgres://jenny@db.example.com/keys?password=s3cret", "postgres db.example.com:5432/keys"},
		{"postgres://db.example.com/keys?user=jenny&password=s3cret", "postgres db.example.com:5432/keys"},
		{"postgres://jenny:s3cret@db.example.com/?dbname=keys", "postgres db.example.com:5432/keys"},
		{"postgres://jenny:s3cret@[2001:db8::1]:5432/keys", "postgres [2001:db8::1]:5432/keys"},
		// several servers
		{"postgres://jenny:s3cret@one:5433,two:5434/keys", "postgres one:5433,two:5434/keys"},
		{"postgres://jenny:s3cret@one,two/keys?target_session_attrs=any", "postgres one:5432,two:5432/keys"},
		{"host=one,two port=5433,5434 user=jenny password=s3cret dbname=keys", "postgres one:5433,two:5434/keys"},
		// percent-encoded
		{"postgres://jenny:s3cret%40%2F%3A%3F%23%25@db.example.com/keys", "postgres db.example.com:5432/keys"},
		{"postgres://j%40x:s3cret@db.example.com/k%65ys", "postgres db.example.com:5432/keys"},
		{"postgres://jenny:s3cret@db.example.com/keys%40home", "postgres db.example.com:5432/keys@home"},
		{"postgres://jenny:s3cret?#&@db.example.com/keys", "postgres db.example.com:5432/keys"},
		// unix sockets
		{"postgres://jenny:s3cret@%2Fvar%2Frun%2Fpostgresql/keys", "postgres /var/run/postgresql/keys"},
		{"postgres:///keys?host=/var/run/postgresql&user=jenny&password=s3cret", "postgres /var/run/postgresql/keys"},
		{"host=/var/run/postgresql port=5433 user=jenny password=s3cret dbname=keys", "postgres /var/run/postgresql/keys"},
		{"host=/run/user@1000/pg user=jenny password=s3cret dbname=keys", "postgres /run/user@1000/pg/keys"},
		// keywords and values
		{"host=db.example.com port=5433 user=jenny password=s3cret dbname=keys", "postgres db.example.com:5433/keys"},
		{"host=db.example.com user=jenny password='s3cret with = and \\' in it' dbname=keys", "postgres db.example.com:5432/keys"},
		{"host=db.example.com user=jenny password=s3cret\\ 2 dbname=keys", "postgres db.example.com:5432/keys"},
		{"password = s3cret host = db.example.com dbname = keys user = jenny", "postgres db.example.com:5432/keys"},
		{"host=db.example.com user=jenny password=s3cret://@/ dbname=keys@home", "postgres db.example.com:5432/keys@home"},
	}
	for _, test := range tests {
		if got := postgres.Place(test.dsn); got != test.want {
			t.Errorf("%s is shown as %q, want %q", test.dsn, got, test.want)
		}
		if err := postgres.Check(test.dsn); err != nil {
			t.Errorf("%s: %v", test.dsn, err)
		}
	}
}

// TestPasswords: the password that the driver gets is the one that was meant, where the address could be misunderstood.
func TestPasswords(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://jenny:s3cret%40%2F%25@db/keys":                      "s3cret@/%",
		"postgres://jenny:s3cret?#&@db/keys":                            "s3cret?#&",
		"host=db user=jenny password='s3cret = \\'x\\'' dbname=keys":    "s3cret = 'x'",
		"postgres:///keys?host=/var/run&user=jenny&password=s3cret%26a": "s3cret&a",
	} {
		config, err := postgres.Parse(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if got := config.ConnConfig.Password; got != want {
			t.Errorf("the password in %s is %q, want %q", dsn, got, want)
		}
	}
}

// TestUnreadable: an address that cannot be read, or was read as another one than was meant, is refused, and neither the error nor
// what is shown in its place holds anything of the password.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"", " ",
		"jenny:s3cret@db/keys",
		"POSTGRES://jenny:s3cret@db/keys",
		"mysql://jenny:s3cret@db/keys",
		" postgres://jenny:s3cret@db/keys",
		"postgres://jenny:s3cret@db:port/keys",
		"postgres://jenny:s3cret@db:99999/keys",
		"postgres://jenny:s3cret%zz@db/keys",
		"postgres://jenny:pass/s3cret@db/keys",
		"postgres://jenny:1/s3cret@db/keys",
		"postgres://jenny:1/s3cret@db/keys?sslmode=disable",
		"postgres://jenny:p@1/s3cret@db/keys",
		"postgres://jenny:p@/s3cret@db/keys",
		"postgres://jenny:p@s3cret@db/keys",
		"postgres://jenny:p@s3cret@one,two/keys",
		"postgres://jenny:s3cret@db/keys?connect_timeout=soon",
		"postgres://jenny:s3cret@db/keys?pool_max_conns=many",
		"postgres://jenny:s3cret@db/keys?target_session_attrs=best",
		"postgres://jenny:s3cret@db/keys?sslmode=perhaps",
		"host=db user=jenny password='s3cret dbname=keys",
		"host=db user=jenny password=the s3cret dbname=keys",
		"host=db user=jenny dbname=postgres://jenny:s3cret@db/keys",
		"host=db user=jenny dbname='host=db password=s3cret'",
		"host=postgres://jenny:s3cret@db user=jenny dbname=keys",
	} {
		err := postgres.Check(dsn)
		if err == nil {
			t.Errorf("%q is taken, as %s", dsn, postgres.Place(dsn))
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "the address of the database ") || strings.Contains(text, "s3cret") || strings.Contains(text, "jenny") {
			t.Errorf("%q: the error is %v", dsn, err)
		}
		if got := postgres.Place(dsn); got != "an unreadable address" {
			t.Errorf("%q is shown as %q", dsn, got)
		}
	}
}

// TestDefaults: what an address says counts, and what it does not say is filled in.
func TestDefaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		options     string
		connections int32
		timeout     time.Duration
		name        string
	}{
		{"", 8, 3 * time.Second, "keystile"},
		{"pool_max_conns=3", 3, 3 * time.Second, "keystile"},
		{"connect_timeout=20", 8, 20 * time.Second, "keystile"},
		{"connect_timeout=600", 8, 3 * time.Second, "keystile"},
		{"application_name=mine", 8, 3 * time.Second, "mine"},
	}
	for _, test := range tests {
		for _, dsn := range []string{"postgres://jenny@db/keys?" + test.options, "host=db user=jenny dbname=keys " + test.options} {
			c := parse(t, dsn)
			if c.MaxConns != test.connections || c.ConnConfig.ConnectTimeout != test.timeout || c.ConnConfig.RuntimeParams["application_name"] != test.name {
				t.Errorf("%s: %d connections, %v to connect, by the name of %s", dsn, c.MaxConns, c.ConnConfig.ConnectTimeout, c.ConnConfig.RuntimeParams["application_name"])
			}
		}
	}
}

// TestWritesGoWhere: of several servers the one that takes writes is meant, unless the address says otherwise.
func TestWritesGoWhere(t *testing.T) {
	t.Parallel()
	for dsn, asks := range map[string]bool{
		"postgres://jenny@db/keys":                                      false,
		"postgres://jenny@db/keys?sslmode=prefer":                       false, // one server, tried twice
		"postgres://jenny@db/keys?target_session_attrs=read-write":      true,
		"postgres://jenny@one,two/keys":                                 true,
		"postgres://jenny@one,two/keys?sslmode=disable":                 true,
		"postgres://jenny@db:1,db:2/keys":                               true,
		"host=one,two user=jenny dbname=keys":                           true,
		"postgres://jenny@one,two/keys?target_session_attrs=any":        false,
		"host=one,two user=jenny dbname=keys target_session_attrs=any":  false,
		"postgres://jenny@one,two/keys?target_session_attrs=read-only":  true,
		"postgres://jenny@one,two/keys?target_session_attrs=primary":    true,
		"host=one,one port=5432,5432 user=jenny dbname=keys":            false,
		"host=/run/one,/run/two user=jenny dbname=keys sslmode=disable": true,
	} {
		if got := parse(t, dsn).ConnConfig.ValidateConnect != nil; got != asks {
			t.Errorf("%s: the server is asked for its role: %t, want %t", dsn, got, asks)
		}
	}
}

// TestErrorsOfConnecting: what the driver says when it finds nobody holds no password.
func TestErrorsOfConnecting(t *testing.T) {
	t.Parallel()
	nowhere := t.TempDir()
	for _, dsn := range []string{
		"postgres://jenny:s3cret@127.0.0.1:1/keys",
		"postgres://jenny:s3cret@127.0.0.1:1,127.0.0.1:2/keys?sslmode=disable",
		"postgres://jenny:%73%33cret@127.0.0.1:1/keys",
		"host=127.0.0.1 port=1 user=jenny password='s3cret' dbname=keys",
		fmt.Sprintf("host=%s user=jenny password=s3cret dbname=keys", nowhere),
	} {
		err := connect(t.Context(), parse(t, dsn))
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error is %v", dsn, err)
		}
		if !postgres.Away(err) || postgres.Refused(err) {
			t.Errorf("%s: away %t, refused %t: %v", dsn, postgres.Away(err), postgres.Refused(err), err)
		}
	}
}

func parse(t *testing.T, dsn string) *pgxpool.Config {
	t.Helper()
	config, err := postgres.Parse(dsn)
	if err != nil {
		t.Fatalf("%s: %v", dsn, err)
	}
	return config
}

// connect connects once.
func connect(ctx context.Context, config *pgxpool.Config) error {
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	return pool.Ping(ctx)
}
