package parking

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
)

// target is a sink as a model: rows by key, which refuses a value.
type target struct {
	rows  map[string]string
	taken []string // ids in the order of their delivery
}

const poison = "poison"

var table = entraintest.StandardTable()

// cell returns the text of a column of a row; "" if there is none.
func cell(r entrain.Row, i int) string {
	if r == nil {
		return ""
	}
	v, _ := r.Column(i, len(table.Columns))
	return string(v)
}

func keyColumn() int {
	return slices.IndexFunc(table.Columns, func(c entrain.Column) bool { return c.Key })
}

func valueColumn() int {
	return slices.IndexFunc(table.Columns, func(c entrain.Column) bool { return !c.Key && c.Type == "text" })
}

// write applies whole batches, or nothing and names the first event with the value
// that is refused.
func (s *target) write(events []entrain.Event, heals map[string]bool) error {
	rows := maps.Clone(s.rows)
	for i := range events {
		e := &events[i]
		if cell(e.After, valueColumn()) == poison && !heals[e.ID()] {
			failed := entrain.FailedEvent{ID: e.ID(), Table: e.Table.String(), Op: e.Op, Err: errors.New("refused")}
			return &entrain.Stop{Code: "row_refused", Data: true, Err: &entrain.BatchError{Failed: []entrain.FailedEvent{failed}}}
		}
		if e.Before != nil {
			delete(rows, cell(e.Before, keyColumn()))
		}
		if e.After != nil {
			rows[cell(e.After, keyColumn())] = cell(e.After, valueColumn())
		}
	}
	s.rows = rows
	for i := range events {
		s.taken = append(s.taken, events[i].ID())
	}
	return nil
}

// history is a stream of transactions over few rows.
type history struct {
	batches []*entrain.Batch
	all     []entrain.Event
	final   map[string]string
}

func value(r *rand.Rand) string {
	if r.IntN(12) == 0 {
		return poison
	}
	return "v" + strconv.Itoa(r.IntN(1000))
}

func cells(id int, v string) []entraintest.Cell {
	c := make([]entraintest.Cell, len(table.Columns))
	for i := range c {
		c[i] = entraintest.Null
	}
	c[keyColumn()], c[valueColumn()] = entraintest.Text(strconv.Itoa(id)), entraintest.Text(v)
	return c
}

func newHistory(r *rand.Rand) *history {
	h := &history{final: map[string]string{}}
	stream := &entrain.Stream{Source: "s", Incarnation: "i"}
	const ids = 8
	for version := uint64(1); version <= 12; version++ {
		tx := &entrain.Transaction{Stream: stream, Version: version}
		var events []entrain.Event
		for n := 1 + r.IntN(4); n > 0; n-- {
			id := r.IntN(ids)
			key := strconv.Itoa(id)
			var e entrain.Event
			switch _, there := h.final[key]; {
			case !there:
				e = entraintest.Insert(table, cells(id, value(r))...)
			case r.IntN(3) == 0:
				e = entraintest.Delete(table, key)
			default:
				e = entraintest.Update(table, cells(id, value(r))...)
			}
			e.Tx, e.Ordinal = tx, uint64(len(events))
			events = append(events, e)
			if delete(h.final, key); e.After != nil {
				h.final[key] = cell(e.After, valueColumn())
			}
		}
		h.all = append(h.all, events...)
		whole := &entrain.Batch{Events: events, Through: entrain.Position{Incarnation: "i", Offset: strconv.FormatUint(version, 10)}}
		last := len(h.batches) - 1
		switch {
		case len(events) > 1 && r.IntN(4) == 0: // a transaction in parts
			at := 1 + r.IntN(len(events)-1)
			h.batches = append(h.batches, &entrain.Batch{Events: events[:at:at]}, &entrain.Batch{Events: events[at:], Through: whole.Through})
		case last >= 0 && r.IntN(3) == 0: // several transactions in one batch
			b := h.batches[last]
			h.batches[last] = &entrain.Batch{Events: slices.Concat(b.Events, events), Through: whole.Through}
		default:
			h.batches = append(h.batches, whole)
		}
	}
	return h
}

// store keeps letters durably; it fails now and then.
type store struct {
	letters []Letter
	fails   func() bool
}

func (s *store) park(letters []Letter) error {
	if s.fails() {
		return errors.New("the store is away")
	}
	s.letters = append(s.letters, letters...)
	return nil
}

// run delivers the history as an engine does: whatever fails ends the session, and
// the next one begins behind what is durable. Now and then the process ends, too.
func run(t *testing.T, r *rand.Rand, h *history, rules Rules) (*target, *store) {
	t.Helper()
	return runAs(t, history{batches: h.batches}, rules, &session{r: r})
}

// runAs is run with sessions that are like one.
func runAs(t *testing.T, h history, rules Rules, like *session) (*target, *store) {
	t.Helper()
	r := like.r
	sink := &target{rows: map[string]string{}}
	letters := &store{fails: func() bool { return r.IntN(10) == 0 }}
	lot := New(rules)
	durable, written := 0, sink
	for sessions := 0; durable < len(h.batches); sessions++ {
		if sessions > 2000 {
			t.Fatal("it does not get on")
		}
		lot.Begin()
		working := &target{rows: maps.Clone(written.rows), taken: slices.Clone(written.taken)}
		play := &session{r: r, condemns: like.condemns, lot: lot, letters: letters, sink: working, durable: func(n int) {
			durable += n
			written = &target{rows: maps.Clone(working.rows), taken: slices.Clone(working.taken)}
		}}
		err := play.run(h.batches[durable:])
		switch {
		case err == nil:
		case !like.condemns && lot.Refuse(err, time.Unix(1, 0)):
		case errors.Is(err, ErrAgain) || err.Error() == "the store is away" || err.Error() == "killed":
		default:
			t.Fatal(err)
		}
		if r.IntN(8) == 0 { // a new process knows only what is stored
			lot = New(rules)
			lot.Add(letters.letters)
		}
	}
	return written, letters
}

type session struct {
	r       *rand.Rand
	lot     *Lot
	letters *store
	sink    *target
	durable func(n int) // batches are

	condemns bool // the poison is seen when it is read, some batches before it is sorted
}

// condemn condemns the poison of the batches.
func (s *session) condemn(batches []*entrain.Batch) {
	for _, b := range batches {
		for i := range b.Events {
			if e := &b.Events[i]; e.After != nil && cell(e.After, valueColumn()) == poison {
				s.lot.Condemn(e, Letter{Reason: "poison", Class: "condemned", First: time.Unix(1, 0)})
			}
		}
	}
}

func (s *session) run(batches []*entrain.Batch) error {
	behind, read := 0, 0
	for n, b := range batches {
		if s.condemns {
			ahead := min(len(batches), max(read, n+1+s.r.IntN(3)))
			s.condemn(batches[read:ahead])
			read = ahead
		}
		behind++
		pass, out, err := s.lot.Sort(b, time.Unix(1, 0))
		if err != nil {
			return err
		}
		if err := s.letters.park(out); err != nil {
			s.lot.Remove(out)
			return err
		}
		if err := s.sink.write(pass.Events, nil); err != nil {
			return err
		}
		if s.r.IntN(15) == 0 {
			return errors.New("killed")
		}
		if !b.Through.IsZero() {
			s.durable(behind)
			behind = 0
		}
	}
	return nil
}

// TestNothingIsLost: whatever is refused, killed or away, every event is delivered
// or in the store, once; the events of a row are delivered in their order, none
// before one that is in the store; with whole transactions, none is divided (P1,
// P3, P4). What is in the store, delivered in order after the cause was mended,
// makes the target as the source.
func TestNothingIsLost(t *testing.T) {
	for _, rules := range []Rules{{Unit: Transactions, Attempts: 1}, {Unit: Transactions, Attempts: 3}, {Unit: Events, Attempts: 1}} {
		t.Run(fmt.Sprintf("unit %d, attempts %d", rules.Unit, rules.Attempts), func(t *testing.T) {
			parked := 0
			for seed := range uint64(3000) {
				r := rand.New(rand.NewPCG(seed, uint64(rules.Unit)))
				h := newHistory(r)
				sink, letters := run(t, r, h, rules)
				parked += len(letters.letters)
				if text := judge(h, sink, letters, rules); text != "" {
					t.Fatalf("seed %d: %s", seed, text)
				}
			}
			if parked < 1000 {
				t.Errorf("only %d letters", parked)
			}
		})
	}
}

// TestCondemned: what is known to be bad before the sink sees it is taken out without
// the sink, and nothing is lost either; the letter says why.
func TestCondemned(t *testing.T) {
	for _, rules := range []Rules{{Unit: Transactions, Attempts: 1}, {Unit: Transactions, Attempts: 3}, {Unit: Events, Attempts: 1}} {
		reasons := 0
		for seed := range uint64(3000) {
			r := rand.New(rand.NewPCG(seed, 7))
			h := newHistory(r)
			sink, letters := runAs(t, history{batches: h.batches}, rules, &session{r: r, condemns: true})
			reasons += condemned(t, letters)
			if text := judge(h, sink, letters, rules); text != "" {
				t.Fatalf("unit %d, seed %d: %s", rules.Unit, seed, text)
			}
		}
		if reasons < 1000 {
			t.Errorf("only %d letters with a reason", reasons)
		}
	}
}

// condemned counts the letters with a reason, which has to be the right one.
func condemned(t *testing.T, letters *store) (n int) {
	t.Helper()
	for i := range letters.letters {
		l := &letters.letters[i]
		if l.Reason == "" {
			continue
		}
		n++
		if l.Reason != "poison" || l.Class != "condemned" || l.Behind != "" || cell(l.Event.After, valueColumn()) != poison {
			t.Fatalf("a letter that says %+v", l)
		}
	}
	return n
}

func judge(h *history, sink *target, letters *store, rules Rules) string {
	where := map[string]string{}
	for _, id := range sink.taken {
		if where[id] != "" {
			return "event " + id + " was delivered twice"
		}
		where[id] = "delivered"
	}
	for i := range letters.letters {
		id := letters.letters[i].Event.ID()
		if where[id] != "" {
			return "event " + id + " is in the store, and was " + where[id]
		}
		where[id] = "parked"
	}
	held, whole := map[string]bool{}, map[uint64]string{}
	for i := range h.all {
		e := &h.all[i]
		is := where[e.ID()]
		if is == "" {
			return "event " + e.ID() + " is lost"
		}
		if before := whole[e.Tx.Version]; rules.Unit == Transactions && before != "" && before != is {
			return fmt.Sprintf("transaction %d is divided", e.Tx.Version)
		}
		whole[e.Tx.Version] = is
		row := e.After
		if row == nil {
			row = e.Before
		}
		key := cell(row, keyColumn())
		if is == "parked" {
			held[key] = true
		} else if held[key] {
			return "event " + e.ID() + " was delivered before an older one of its row"
		}
	}
	Arrange(letters.letters)
	heals := map[string]bool{}
	var rest []entrain.Event
	for i := range letters.letters {
		heals[letters.letters[i].Event.ID()] = true
		rest = append(rest, letters.letters[i].Event)
	}
	if err := sink.write(rest, heals); err != nil {
		return err.Error()
	}
	if !maps.Equal(sink.rows, h.final) {
		return fmt.Sprintf("after the replay the target has %v, the source %v", sink.rows, h.final)
	}
	return ""
}

// TestRefuse: only what is about events leads to letters, and not for ever.
func TestRefuse(t *testing.T) {
	l := New(Rules{})
	failed := &entrain.BatchError{Failed: []entrain.FailedEvent{{ID: "s/i/5/0", Err: errors.New("no")}}}
	for _, err := range []error{errors.New("x"), &entrain.Stop{Code: "column_missing"}, &entrain.Stop{Code: "table", Err: failed}, &entrain.BatchError{}} {
		if l.Refuse(err, time.Time{}) {
			t.Errorf("%v leads to a letter", err)
		}
	}
	n := 0
	for l.Refuse(failed, time.Time{}) {
		n++
	}
	if n != 1+tooOften {
		t.Errorf("an event that is not taken out is refused %d times without an end", n)
	}
}

// TestTruncate: it touches all rows of its tables.
func TestTruncate(t *testing.T) {
	l := New(Rules{})
	stream := &entrain.Stream{Source: "s", Incarnation: "i"}
	event := func(version uint64, e entrain.Event) entrain.Event {
		e.Tx = &entrain.Transaction{Stream: stream, Version: version}
		return e
	}
	at := entrain.Position{Incarnation: "i", Offset: "1"}
	bad := event(1, entraintest.Insert(table, cells(1, poison)...))
	l.Refuse((&target{}).write([]entrain.Event{bad}, nil), time.Time{})
	pass, out, err := l.Sort(&entrain.Batch{Through: at, Events: []entrain.Event{
		bad, event(2, entraintest.Insert(table, cells(2, "v")...)), event(3, entraintest.Truncate(table)), event(4, entraintest.Insert(table, cells(3, "v")...)),
	}}, time.Time{})
	if err != nil || len(pass.Events) != 1 || len(out) != 3 || out[1].Behind != bad.ID() || out[2].Behind != out[1].Event.ID() || pass.Through != at {
		t.Fatalf("%d pass, out: %+v, %v", len(pass.Events), out, err)
	}
	l.Parked(out)
	l.Remove(out)
	if l.Len() != 0 || l.anything() || len(l.rows) != 0 {
		t.Errorf("left behind: %+v", l)
	}
}

// TestDoubleBegins: a copy of a table that begins anew is not held up by letters about the
// table's rows, and takes no transaction that it is written with.
func TestDoubleBegins(t *testing.T) {
	l := New(Rules{})
	stream := &entrain.Stream{Source: "s", Incarnation: "i"}
	event := func(version uint64, e entrain.Event) entrain.Event {
		e.Tx = &entrain.Transaction{Stream: stream, Version: version}
		return e
	}
	at := entrain.Position{Incarnation: "i", Offset: "1"}
	bad := event(1, entraintest.Insert(table, cells(1, poison)...))
	l.Refuse((&target{}).write([]entrain.Event{bad}, nil), time.Time{})
	double := *table
	double.Shadow = true
	pass, out, err := l.Sort(&entrain.Batch{Through: at, Events: []entrain.Event{
		bad, event(2, entraintest.Insert(table, cells(2, "v")...)), event(2, entraintest.Truncate(&double)),
	}}, time.Time{})
	if err != nil || len(pass.Events) != 2 || len(out) != 1 || pass.Events[1].Op != entrain.OpTruncate {
		t.Errorf("%d pass, out: %+v, %v", len(pass.Events), out, err)
	}
	l.Parked(out)
	pass, out, err = l.Sort(&entrain.Batch{Through: at, Events: []entrain.Event{
		event(3, entraintest.Insert(table, cells(1, "v")...)), event(3, entraintest.Truncate(&double)),
	}}, time.Time{})
	if err != nil || len(pass.Events) != 1 || pass.Events[0].Op != entrain.OpTruncate || len(out) != 1 {
		t.Errorf("%d pass, out: %+v, %v", len(pass.Events), out, err)
	}
}

// TestHistories: letters of a history that began anew come behind those of the one
// before, whose versions may be greater: an old row must not overwrite a new one.
func TestHistories(t *testing.T) {
	at := func(n int64) time.Time { return time.Unix(n, 0) }
	letter := func(incarnation string, version uint64, parked time.Time) Letter {
		e := entraintest.Insert(table, cells(1, "v")...)
		e.Tx = &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: incarnation}, Version: version}
		return Letter{Event: e, At: parked}
	}
	letters := []Letter{letter("b", 7, at(40)), letter("b", 6, at(50)), letter("a", 900, at(10)), letter("a", 800, at(30)), letter("c", 1, at(60))}
	Arrange(letters)
	var got []string
	for _, l := range letters {
		got = append(got, l.Event.ID())
	}
	if want := []string{"s/a/800/0", "s/a/900/0", "s/b/6/0", "s/b/7/0", "s/c/1/0"}; !slices.Equal(got, want) {
		t.Errorf("in the order %v, want %v", got, want)
	}
}

// TestEqualKeys: what comes behind a letter of a row waits also if the row's key is
// written in another way.
func TestEqualKeys(t *testing.T) {
	stream := &entrain.Stream{Source: "s", Incarnation: "i"}
	for _, c := range []struct {
		typ         string
		first, then string
		waits       bool
	}{
		{"numeric", "1.0", "1.00", true}, {"numeric", "1", "1.000", true}, {"numeric", "10", "1", false}, {"float8", "0", "-0", true},
		{"public.citext", "Straße", "STRASSE", false}, {"public.citext", "Ab", "aB", true}, {"text", "É", "é", true}, {"text", "a", "b", false},
		{"interval", "1 day", "24:00:00", true}, {"_numeric", "{1.0}", "{1}", true}, {"bigint", "1", "2", false},
	} {
		table := &entrain.Table{Schema: "s", Name: "t", Columns: []entrain.Column{{Name: "k", Type: c.typ, Modifier: -1, Key: true}}}
		l := New(Rules{})
		bad := entraintest.Insert(table, entraintest.Text(c.first))
		bad.Tx = &entrain.Transaction{Stream: stream, Version: 1}
		l.Add([]Letter{{Event: bad}})
		next := entraintest.Insert(table, entraintest.Text(c.then))
		next.Tx = &entrain.Transaction{Stream: stream, Version: 2}
		if waits := l.Before(&next) != ""; waits != c.waits {
			t.Errorf("%s %s behind a letter of %s waits: %v", c.typ, c.then, c.first, waits)
		}
	}
}

// TestLetterWithoutRow: what was taken out before a crash is not delivered behind it,
// also if no row says that it is a letter.
func TestLetterWithoutRow(t *testing.T) {
	for _, unit := range []Unit{Transactions, Events} {
		l := New(Rules{Unit: unit})
		e := entrain.Event{Op: entrain.OpMessage, Message: &entrain.Message{Prefix: "p"}, Tx: &entrain.Transaction{Stream: &entrain.Stream{Source: "s", Incarnation: "i"}, Version: 1}}
		l.Add([]Letter{{Event: e}}) // by the process before
		pass, out, err := l.Sort(&entrain.Batch{Events: []entrain.Event{e}, Through: entrain.Position{Incarnation: "i", Offset: "1"}}, time.Time{})
		if err != nil || len(pass.Events) != 0 || len(out) != 0 {
			t.Errorf("unit %d: %d pass, %d are new letters, %v", unit, len(pass.Events), len(out), err)
		}
	}
}
