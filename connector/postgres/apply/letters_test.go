package apply

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestLetters: letters are kept once and survive as they are; each pipeline has its
// own.
func TestLetters(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		s := testSink(t, url)
		if got, err := s.Letters(t.Context()); len(got) > 0 || err != nil {
			t.Errorf("before the first: %v, %v", got, err)
		}
		if err := s.DropLetters(t.Context(), []string{"x"}); err != nil {
			t.Errorf("dropped before the first: %v", err)
		}
		newFeed(t, url) // makes the schema
		at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
		a := entrain.DeadLetter{ID: "s/i/1/0", Table: "public.orders", Op: "insert", Class: "row_refused", Reason: "it's \"no\"\n€", Behind: "",
			Attempts: 3, First: at, Parked: at.Add(time.Minute), Body: []byte(`{"v":1,"b":1.500,"a":"x"}`)}
		b := entrain.DeadLetter{ID: "s/i/1/1", Op: "delete", Behind: a.ID, First: at, Parked: at, Body: []byte(`{}`)}
		for range 2 {
			if err := s.KeepLetters(t.Context(), []entrain.DeadLetter{a, b}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := testSink(t, url).Letters(t.Context())
		slices.SortFunc(got, func(a, b entrain.DeadLetter) int { return cmp.Compare(a.ID, b.ID) })
		if err != nil || !reflect.DeepEqual(got, []entrain.DeadLetter{a, b}) {
			t.Errorf("kept %+v, %v", got, err)
		}
		pgtest.Exec(t, url, `INSERT INTO entrain.dead_letter SELECT 'other', id, table_name, op, class, reason, behind, attempts, first_at, parked_at, body FROM entrain.dead_letter`)
		if err := s.DropLetters(t.Context(), []string{a.ID, "not there"}); err != nil {
			t.Fatal(err)
		}
		wantRows(t, url, `SELECT pipeline, id FROM entrain.dead_letter ORDER BY pipeline, id`, "other|s/i/1/0\nother|s/i/1/1\ntest|s/i/1/1")
		removals, err := s.Teardown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(removals, func(r entrain.Removal) bool { return strings.HasPrefix(r.What, `1 dead letters of pipeline "test"`) }) {
			t.Errorf("the letters are not named: %+v", removals)
		}
		for i, r := range removals {
			err := r.Do(t.Context())
			if last := i == len(removals)-1; last && (err == nil || !strings.Contains(err.Error(), "2 dead letters are still in it")) || !last && err != nil {
				t.Errorf("%s: %v", r.What, err)
			}
		}
		pgtest.Exec(t, url, `DELETE FROM entrain.dead_letter`)
		if removals, err = s.Teardown(t.Context()); err != nil || len(removals) != 1 || removals[0].Do(t.Context()) != nil {
			t.Errorf("%v: %+v", err, removals)
		}
		wantRows(t, url, `SELECT count(*) FROM pg_namespace WHERE nspname = 'entrain'`, "0")
	})
}
