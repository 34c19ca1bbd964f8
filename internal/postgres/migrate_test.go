package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keystile/keystile/internal/postgres"
	"github.com/keystile/keystile/keystore/pgstore/pgtest"
)

const firstStep = `CREATE TABLE things_schema (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL);
CREATE TABLE things (step integer NOT NULL)`

// steps are tables whose every step but the first, which makes them, leaves a row.
func steps(n int) postgres.Tables {
	files := fstest.MapFS{"migrations/1.sql": {Data: []byte(firstStep)}}
	for i := 2; i <= n; i++ {
		files[fmt.Sprintf("migrations/%d.sql", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, `INSERT INTO things (step) VALUES (%d); SELECT 1;`, i)}
	}
	return postgres.Tables{Version: "things_schema", Steps: n, Files: files, Empty: "it holds no things"}
}

func open(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), parse(t, dsn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// wantSteps checks that the tables are of a version, and that each of its steps was made once, in its order.
func wantSteps(t *testing.T, pool *pgxpool.Pool, version int) {
	t.Helper()
	var is int
	var made []int32
	err := pool.QueryRow(t.Context(), `SELECT version, (SELECT coalesce(array_agg(step), '{}') FROM things) FROM things_schema`).Scan(&is, &made)
	if err != nil {
		t.Fatal(err)
	}
	want := []int32{}
	for i := 2; i <= version; i++ {
		want = append(want, int32(i))
	}
	if is != version || fmt.Sprint(made) != fmt.Sprint(want) {
		t.Errorf("the tables are of version %d, by the steps %v; want %d, %v", is, made, version, want)
	}
}

// TestMigrateAtOnce: of several nodes that start at once each finds the tables made, and each step is made once: in an empty
// database, in one that an earlier version has left, and in one that is up to date.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	for _, version := range []int{1, 6, 6} {
		var nodes sync.WaitGroup
		begin := make(chan struct{})
		for range 8 {
			pool := open(t, dsn)
			nodes.Go(func() {
				<-begin
				if err := postgres.Migrate(t.Context(), pool, steps(version)); err != nil {
					t.Errorf("to version %d: %v", version, err)
				}
			})
		}
		close(begin)
		nodes.Wait()
		wantSteps(t, open(t, dsn), version)
	}
}

// TestMigrateFails: a step that fails leaves nothing behind, and one that was made before it stays.
func TestMigrateFails(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.Shared(t).Database(t))
	broken := steps(3)
	broken.Files.(fstest.MapFS)["migrations/3.sql"].Data = []byte(`INSERT INTO things (step) VALUES (3); INSERT INTO nothing VALUES (3)`)
	err := postgres.Migrate(t.Context(), pool, broken)
	if err == nil || !strings.HasPrefix(err.Error(), "making its tables: ") || postgres.State(err) != postgres.UndefinedTable {
		t.Errorf("the error is %v", err)
	}
	wantSteps(t, pool, 2)
	if err := postgres.Migrate(t.Context(), pool, steps(3)); err != nil {
		t.Fatal(err)
	}
	wantSteps(t, pool, 3)
}

// TestMigrateRefuses: tables that are not understood are left alone.
func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	for change, want := range map[string]string{
		`UPDATE things_schema SET version = 99`: "its tables are of version 99, and this program knows versions up to 3: it was written by a newer version of the program",
		`DELETE FROM things_schema`:             "its table things_schema is empty: it holds no things",
	} {
		pool := open(t, pgtest.Shared(t).Database(t))
		if err := postgres.Migrate(t.Context(), pool, steps(2)); err != nil {
			t.Fatal(err)
		}
		if _, err := pool.Exec(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		err := postgres.Migrate(t.Context(), pool, steps(3))
		if err == nil || err.Error() != want {
			t.Errorf("after %s the error is %v, want %s", change, err, want)
		}
		var things int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM things`).Scan(&things); err != nil || things != 1 {
			t.Errorf("after %s there are %d things, %v", change, things, err)
		}
	}
}

// TestMigrateAway: nobody waits for a server that is not there, takes no writes or lets nobody in.
func TestMigrateAway(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	nowhere := open(t, "postgres://jenny:s3cret@127.0.0.1:1/keys?sslmode=disable")
	if err := postgres.Migrate(t.Context(), nowhere, steps(1)); !postgres.Away(err) {
		t.Errorf("without a server the error is %v", err)
	}
	config := parse(t, dsn)
	config.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	reader, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := postgres.Migrate(t.Context(), reader, steps(1)); postgres.State(err) != postgres.ReadOnly {
		t.Errorf("on a standby the error is %v", err)
	}
	config = parse(t, dsn)
	config.ConnConfig.Password = "s3cret"
	stranger, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := postgres.Migrate(t.Context(), stranger, steps(1)); !postgres.Refused(err) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("with a wrong password the error is %v", err)
	}
}
