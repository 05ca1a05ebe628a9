package entraintest

import (
	"errors"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestRows: the model that both suites trust tells NULL from unchanged, moves
// rows with their unchanged columns, and refuses what does not fit (P1, P2).
func TestRows(t *testing.T) {
	rows := Rows{}
	for _, e := range []entrain.Event{
		std(1, Text("a"), Text("b"), Null),
		set(1, Null, Unchanged, Text("1.0")),
		move(1, 2, Unchanged, Unchanged, Unchanged),
		std(1, Text(""), Null, Null),
		remove(1),
		Message("any", "thing"),
	} {
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s: %v", e.Op, err)
		}
	}
	want := Rows{"2": {Text("2"), Null, Text("b"), Text("1.0")}}
	if diff := rows.Diff(want); diff != "" {
		t.Error(diff)
	}
	for _, e := range []entrain.Event{
		std(2, Null, Null, Null), std(3, Unchanged, Null, Null), set(1, Null, Null, Null),
		move(1, 5, Null, Null, Null), remove(9), {Op: 77},
	} {
		if err := rows.Apply(&e); err == nil {
			t.Errorf("%s of %q was accepted", e.Op, e.After)
		}
	}
	clash := move(2, 2, Null, Null, Null)
	if err := rows.Apply(&clash); err != nil {
		t.Errorf("a key that changes to itself: %v", err)
	}
	first := std(7, Null, Null, Null)
	clash = move(2, 7, Null, Null, Null)
	if err := errors.Join(rows.Apply(&first), rows.Apply(&clash)); !errors.Is(err, errPresent) {
		t.Errorf("a key that changes to one that exists: %v", err)
	}
}

// TestDiff: a difference of any kind is told (P1).
func TestDiff(t *testing.T) {
	rows := Rows{"1": {Text("1"), Null}, "2": {Text("2"), Text("")}}
	for want, other := range map[string]Rows{
		`missing "3"`:                        {"1": rows["1"], "2": rows["2"], "3": {Text("3"), Null}},
		`extra "2"`:                          {"1": rows["1"]},
		`row "2": ["2" ""], want ["2" NULL]`: {"1": rows["1"], "2": {Text("2"), Null}},
	} {
		if diff := rows.Diff(other); !strings.HasPrefix(diff, want) {
			t.Errorf("diff %q, want %q", diff, want)
		}
	}
	if diff := rows.Diff(rows.Clone()); diff != "" {
		t.Errorf("a copy differs: %s", diff)
	}
	if diff := Rows(nil).Diff(rows); strings.Count(diff, "missing") != 2 {
		t.Errorf("diff of nothing: %q", diff)
	}
}

// TestCompositeKey: rows without key columns, or with several, are told apart
// by all of them (P3).
func TestCompositeKey(t *testing.T) {
	two := &entrain.Table{Schema: "s", Name: "two", Columns: []entrain.Column{
		{Name: "a", Key: true}, {Name: "v"}, {Name: "b", Key: true},
	}}
	none := &entrain.Table{Schema: "s", Name: "none", Columns: []entrain.Column{{Name: "a"}, {Name: "b"}}}
	rows := Rows{}
	for _, e := range []entrain.Event{
		Insert(two, Text("1"), Text("x"), Text("2")), Insert(two, Text("12"), Text("y"), Text("")),
		Rekey(two, []string{"1", "2"}, Text("1"), Unchanged, Text("3")), Delete(two, "12", ""),
	} {
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("%s: %v", e.Op, err)
		}
	}
	if diff := rows.Diff(Rows{"1\x003": {Text("1"), Text("x"), Text("3")}}); diff != "" {
		t.Error(diff)
	}
	if key, known := keyOf(none, []Cell{Text("x"), Null}); key != "x\x00" || !known {
		t.Errorf("key %q, %v", key, known)
	}
}

// TestSQL: the statements say what the events say; columns that are not
// mentioned stay unchanged (P1).
func TestSQL(t *testing.T) {
	for want, e := range map[string]entrain.Event{
		"INSERT INTO public.conformance VALUES ('1', 'it''s', NULL, '0.50')": std(1, Text("it's"), Null, Text("0.50")),
		"UPDATE public.conformance SET name = '', n = NULL WHERE id = '1'":   set(1, Text(""), Unchanged, Null),
		"UPDATE public.conformance SET id = '2', body = 'b' WHERE id = '1'":  move(1, 2, Unchanged, Text("b"), Unchanged),
		"DELETE FROM public.conformance WHERE id = '1'":                      remove(1),
		"TRUNCATE TABLE public.conformance":                                  empty(),
	} {
		if got := SQL(e); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestRowsSettle: a change of a table that is being copied fits whatever is there
// (P3).
func TestRowsSettle(t *testing.T) {
	rows := Rows{}
	read := std(1, Text("read"), Null, Null)
	read.Op = entrain.OpRead
	events := settled(std(1, Text("a"), Null, Null), std(1, Text("b"), Text("x"), Null), set(2, Null, Null, Null), remove(3),
		move(4, 5, Text("whole"), Null, Null), move(6, 7, Text("partial"), Unchanged, Null), move(1, 5, Text("c"), Unchanged, Null),
		move(8, 5, Unchanged, Text("y"), Unchanged), std(9, Null, Null, Null), move(9, 5, Text("d"), Null, Text("1")))
	for i, e := range append(events, read, read) {
		if err := rows.Apply(&e); err != nil {
			t.Fatalf("event %d: %v", i, err)
		}
	}
	want := Rows{"1": {Text("1"), Text("read"), Null, Null}, "5": {Text("5"), Text("d"), Null, Text("1")}}
	if diff := rows.Diff(want); diff != "" {
		t.Error(diff)
	}
	for _, e := range settled(std(1, Unchanged, Null, Null), entrain.Event{Op: 77}) {
		if err := rows.Apply(&e); err == nil {
			t.Errorf("%s of %q was accepted", e.Op, e.After)
		}
	}
}
