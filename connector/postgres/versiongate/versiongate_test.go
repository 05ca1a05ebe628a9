package versiongate

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

var pair = &entrain.Table{Schema: "public", Name: "t", Columns: []entrain.Column{
	{Name: "a", Type: "text", Key: true}, {Name: "b", Type: "text", Key: true}, {Name: "c", Type: "text"}}}

// pass is what the gate is given.
type pass struct {
	mark     Version
	events   []entrain.Event
	versions []Version
}

var passes = rapid.Custom(func(t *rapid.T) (p pass) {
	p.mark = Version{1, rapid.Uint64Range(0, 9).Draw(t, "mark"), rapid.Uint64Range(0, 2).Draw(t, "ordinal")}
	p.events = make([]entrain.Event, rapid.IntRange(0, 12).Draw(t, "events"))
	p.versions = make([]Version, len(p.events))
	for i := range p.events {
		p.events[i] = rapid.SampledFrom([]entrain.Event{{Op: entrain.OpUpdate, Table: pair}, {Op: entrain.OpUpdate, Table: pair},
			{Op: entrain.OpTruncate, Truncate: &entrain.Truncate{Tables: []*entrain.Table{pair}}}, {Op: entrain.OpRead, Table: pair}, {Op: entrain.OpMessage}}).Draw(t, "event")
		if Gated(&p.events[i]) {
			p.versions[i] = Version{int32(rapid.IntRange(0, 2).Draw(t, "era")), rapid.Uint64Range(0, 9).Draw(t, "version"), rapid.Uint64Range(0, 2).Draw(t, "ordinal")}
		}
	}
	return p
})

// wrong says what is wrong with how a pass was divided, or nothing.
func (p pass) wrong(runs []Run, end Version) error {
	greatest, next := p.mark, 0
	for n, run := range runs {
		if run.From != next || run.To <= run.From || n > 0 && runs[n-1].Way == run.Way {
			return fmt.Errorf("runs %v do not fit", runs)
		}
		next = run.To
		for i := run.From; i < run.To; i++ {
			late := Gated(&p.events[i]) && p.versions[i].Compare(greatest) <= 0
			if late != (run.Way == Late) {
				return fmt.Errorf("event %d, %v, behind %v goes %v", i, p.versions[i], greatest, run.Way)
			}
			if Gated(&p.events[i]) && p.versions[i].Compare(greatest) > 0 {
				greatest = p.versions[i]
			}
		}
	}
	if next != len(p.events) || end != greatest {
		return fmt.Errorf("%d of %d events, mark %v, want %v", next, len(p.events), end, greatest)
	}
	return nil
}

// TestRuns: whatever the order of the events, each goes in order if and only if it is
// above all before it; runs cover all events, and the mark is the greatest.
func TestRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := passes.Draw(t, "pass")
		if err := p.wrong(Runs(p.mark, p.events, p.versions)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestBugs makes sure that what checks the runs finds mistakes.
func TestBugs(t *testing.T) {
	for name, spoil := range map[string]func(p pass, runs []Run, end Version) ([]Run, Version){
		"late changes go in order": func(p pass, runs []Run, end Version) ([]Run, Version) {
			if len(p.events) == 0 {
				return nil, end
			}
			return []Run{{InOrder, 0, len(p.events)}}, end
		},
		"late changes move the mark": func(p pass, runs []Run, end Version) ([]Run, Version) {
			for i := range p.events {
				if Gated(&p.events[i]) {
					end = p.versions[i]
				}
			}
			return runs, end
		},
		"the last run is lost": func(_ pass, runs []Run, end Version) ([]Run, Version) { return runs[:max(0, len(runs)-1)], end },
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range 1000 {
				p := passes.Example(seed)
				runs, end := Runs(p.mark, p.events, p.versions)
				if err := p.wrong(spoil(p, runs, end)); err != nil {
					t.Logf("case %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}

// TestKeys: two keys have one text if and only if they are equal.
func TestKeys(t *testing.T) {
	value := rapid.StringOfN(rapid.SampledFrom([]rune{'a', ',', '\\', '#', 'N'}), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		one := []string{value.Draw(t, "a"), value.Draw(t, "b")}
		two := []string{value.Draw(t, "a"), value.Draw(t, "b")}
		text := func(key []string) string {
			row := entraintest.Row(pair, entraintest.Text(key[0]), entraintest.Text(key[1]), entraintest.Null)
			return string(AppendKey(nil, []int{0, 1}, 3, row))
		}
		if (text(one) == text(two)) != slices.Equal(one, two) {
			t.Fatalf("%q: %s, %q: %s", one, text(one), two, text(two))
		}
	})
	long := strings.Repeat("x", 5000)
	before := entraintest.Row(pair, entraintest.Text(long), entraintest.Text("b"), entraintest.Null)
	after := entraintest.Row(pair, entraintest.Unchanged, entraintest.Text("b"), entraintest.Text("c"))
	key := string(AppendKey([]byte("p"), []int{0, 1}, 3, before))
	if len(key) != 1+2+64 || key != string(AppendKey([]byte("p"), []int{0, 1}, 3, after, before)) {
		t.Errorf("a long key is %q", key)
	}
}

// TestFill: what the old image has is filled in, and only that.
func TestFill(t *testing.T) {
	text, same := entraintest.Text, entraintest.Unchanged
	for _, c := range []struct {
		before, after, want entrain.Row
		whole               Wholeness
	}{
		{nil, entraintest.Row(pair, text("a"), text("b"), text("c")), entraintest.Row(pair, text("a"), text("b"), text("c")), true},
		{nil, entraintest.Row(pair, text("a"), text("b"), same), entraintest.Row(pair, text("a"), text("b"), same), false},
		{entraintest.Row(pair, text("a"), same, entraintest.Null), entraintest.Row(pair, text("z"), text("b"), same),
			entraintest.Row(pair, text("z"), text("b"), entraintest.Null), true},
		{entraintest.Row(pair, text("a"), same, same), entraintest.Row(pair, text("a"), same, same), entraintest.Row(pair, text("a"), same, same), false},
	} {
		if row, whole := Fill(c.before, c.after, 3); string(row) != string(c.want) || whole != c.whole {
			t.Errorf("%v and %v make %v, %v", entraintest.Cells(pair, c.before), entraintest.Cells(pair, c.after), entraintest.Cells(pair, row), whole)
		}
	}
}

// TestStart: what is there when the gate is turned on.
func TestStart(t *testing.T) {
	first := Version{1, 50, 3}
	for _, c := range []struct {
		applied uint64
		same    History
		want    Version
	}{{0, true, Version{}}, {0, false, Version{}}, {40, true, Version{1, 40, Most}}, {60, true, Version{1, 60, Most}}, {60, false, Version{1, 49, Most}}} {
		got := Start(first, c.applied, c.same)
		if got != c.want {
			t.Errorf("applied %d, same %v: %v", c.applied, c.same, got)
		}
	}
	if _, err := Of(1, &entrain.Event{Tx: &entrain.Transaction{Version: Most + 1, Stream: &entrain.Stream{}}}); err == nil {
		t.Error("a version that a bigint cannot hold is taken")
	}
}

// TestKeyBombs: SE-10. A key of any size is a short text, which still tells keys apart.
func TestKeyBombs(t *testing.T) {
	long := strings.Repeat(`\,`, 8<<20)
	var b entrain.RowBuilder
	texts := map[string]bool{}
	for _, value := range []string{long, long + "x", long[1:]} {
		b.Begin(nil, 1)
		b.Value([]byte(value))
		row, _ := b.End()
		text := AppendKey(nil, []int{0}, 1, row)
		if len(text) > longKey {
			t.Errorf("a key of %d bytes is kept as %d", len(value), len(text))
		}
		texts[string(text)] = true
	}
	if len(texts) != 3 {
		t.Errorf("%d texts of 3 keys", len(texts))
	}
}
