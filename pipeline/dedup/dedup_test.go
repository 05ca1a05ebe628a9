package dedup

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/internal/anyevent"
)

func parsed(t testing.TB, text string) Pattern {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestKeys: what a pattern makes of an event.
func TestKeys(t *testing.T) {
	e := entraintest.Insert(entraintest.StandardTable(), entraintest.Text("7"), entraintest.Text("n"), entraintest.Text("b"), entraintest.Null)
	e.Ordinal = 3
	e.Tx = &entrain.Transaction{Version: 0x16B3748ABC, Stream: &entrain.Stream{Source: "source", Incarnation: "inc"}}
	for pattern, want := range map[string]string{
		"sync:{source}:{table}:{lsn}": "sync:source:public.conformance:16/B3748ABC",
		"{ordinal}/{key}/{delivery}x": "3/7/shop:ax",
		Default:                       "entrain:shop:a:source/inc/97500039868/3",
	} {
		if got := string(parsed(t, pattern).AppendKey(nil, &e, "shop:a")); got != want {
			t.Errorf("%s makes %s, want %s", pattern, got, want)
		}
	}
	truncate := entraintest.Truncate(entraintest.StandardTable(), entraintest.StandardTable())
	truncate.Tx = e.Tx
	if got := string(parsed(t, "{table}|{key}").AppendKey(nil, &truncate, "")); got != "public.conformance,public.conformance|" {
		t.Errorf("a truncate makes %s", got)
	}
	for _, bad := range []string{"", "{tabel}", "{id", "a{}b"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestCompleted: what a pattern lacks to tell changes apart is added, and nothing else.
func TestCompleted(t *testing.T) {
	for pattern, want := range map[string]string{
		"sync:{source}:{table}:{lsn}": ":{ordinal}",
		"{table}:{key}":               ":{lsn}:{ordinal}",
		"{ordinal}":                   ":{lsn}",
		"{lsn}{ordinal}":              "",
		"{id}":                        "",
		Default:                       "",
	} {
		p, added := parsed(t, pattern).Completed()
		if added != want || p.String() != pattern+want {
			t.Errorf("%s lacks %q and becomes %s, want %q", pattern, added, p, want)
		}
	}
}

// TestApart: two changes of a history never have one key by a pattern that was
// completed, and never one mark, whatever their keys are.
func TestApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyevent.NewMaker(t)
		a, b := m.Event(t), m.Event(t)
		if a.ID() == b.ID() {
			t.Skip("one change")
		}
		if Mark(&a, "d") == Mark(&b, "d") {
			t.Fatalf("%s and %s have one mark", a.ID(), b.ID())
		}
		once, again := Mark(&a, "d"), Mark(&a, "d")
		if once == Mark(&a, "e") || once != again {
			t.Fatal("a mark is that of a change and a delivery")
		}
		if *a.Tx.Stream != *b.Tx.Stream {
			return
		}
		p, err := Parse(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"{source}", "{table}", "{lsn}", "{key}", "{ordinal}", "{id}"}), 1, 4).Draw(t, "pattern"), ":"))
		if err != nil {
			t.Fatal(err)
		}
		if _, added := p.Completed(); added == "" && p.has("lsn") && p.has("key") {
			return // a key's value can be anything, also what separates
		}
		whole, _ := p.Completed()
		if k := string(whole.AppendKey(nil, &a, "d")); !whole.has("key") && !whole.has("table") && k == string(whole.AppendKey(nil, &b, "d")) {
			t.Fatalf("%s and %s have the key %s", a.ID(), b.ID(), k)
		}
	})
}
