package api

import (
	"github.com/keystile/keystile/keystore"
)

// List is one page of a list, newest first.
type List[T any] struct {
	Object  string `json:"object" enum:"list"`
	Data    []T    `json:"data" nullable:"false"`
	HasMore bool   `json:"has_more" doc:"There are more rows: ask again with starting_after set to the id of the last one"`
}

// page is the store's form of limit and starting_after.
func page(limit int, startingAfter string) keystore.Page {
	return keystore.Page{Limit: limit, StartingAfter: startingAfter}
}

// listOf makes a page of rows. Data is never null: an empty list is [].
func listOf[From, To any](rows []From, more bool, view func(From) To) List[To] {
	data := make([]To, 0, len(rows))
	for _, row := range rows {
		data = append(data, view(row))
	}
	return List[To]{Object: "list", Data: data, HasMore: more}
}

// checkCursor refuses a starting_after that is no row. The store takes any well-formed id as a position, so that a walk
// survives a deleted row: the lists of what can be deleted do not ask for this check. Rows of the others are never deleted,
// and a cursor of nowhere is a mistake.
func checkCursor(startingAfter string, known bool) error {
	if startingAfter == "" || known {
		return nil
	}
	return badParam("starting_after", "starting_after must be the id of a row of this list")
}

// cursorError makes the store's answer to a cursor that it does not know a 400: the list exists, the parameter is wrong.
func cursorError(err error, startingAfter string) error {
	if startingAfter != "" && keystore.CodeOf(err) == keystore.CodeNotFound {
		return badParam("starting_after", "starting_after must be the id of a row of this list")
	}
	return err
}
