package api

import (
	"encoding/base64"
	"slices"
	"strings"
)

// Page is what all lists are asked by.
type Page struct {
	Cursor string `query:"cursor" maxLength:"512" doc:"next of the page before."`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"The most rows of a page."`
}

// row is one of a list, with what it is sorted by: no two are the same.
type row[T any] struct {
	key   string
	value T
}

// cut returns the rows of a page, and the cursor of the next one: "" at the end. Rows
// that come or go meanwhile move no others.
func cut[T any](all []row[T], p Page) ([]T, string, error) {
	after, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return nil, "", Refuse(Malformed, "cursor is not next of an earlier page")
	}
	slices.SortFunc(all, func(a, b row[T]) int { return strings.Compare(a.key, b.key) })
	rows := []T{}
	last := ""
	for _, r := range all {
		if p.Cursor != "" && r.key <= string(after) {
			continue
		}
		if len(rows) == p.Limit {
			return rows, base64.RawURLEncoding.EncodeToString([]byte(last)), nil
		}
		rows, last = append(rows, r.value), r.key
	}
	return rows, "", nil
}
