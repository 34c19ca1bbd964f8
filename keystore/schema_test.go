package keystore

import (
	"testing"

	"github.com/hashicorp/go-memdb"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	if _, err := memdb.NewMemDB(schema()); err != nil {
		t.Fatalf("the schema does not hold: %v", err)
	}
}

func TestIndexesRefuseWrongArguments(t *testing.T) {
	t.Parallel()
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		t.Fatal(err)
	}
	txn := db.Txn(false)
	for _, tc := range []struct {
		table, index string
		args         []any
	}{
		{tableKeys, indexID, []any{7}},
		{tableKeys, indexID, []any{"a", "b"}},
		{tableKeys, indexDigest, []any{"text"}},
		{tableKeys, indexDigest, []any{}},
		{tableKeys, indexOwner, []any{"acct_1"}},
		{tableKeys, indexOwner, []any{"acct_1", 1, "key_1"}},
	} {
		// No argument at all is memdb's "first of all", which no code here asks for.
		if len(tc.args) == 0 {
			continue
		}
		if _, err := txn.First(tc.table, tc.index, tc.args...); err == nil {
			t.Errorf("%s by %s took %v", tc.table, tc.index, tc.args)
		}
	}
	if err := db.Txn(true).Insert(tableKeys, &Account{ID: "acct_1"}); err == nil {
		t.Error("an account went into the table of keys")
	}
}
