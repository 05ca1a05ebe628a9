// Package parking decides which events are taken out of a stream because the
// sink refuses them, or because they come behind one that it refused, and are
// kept until a person has looked at them. It is pure: who calls it stores what it
// takes out before anything behind that is made durable.
package parking

import (
	"bytes"
	"errors"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
)

// Unit says how much is taken out with an event that is refused.
type Unit uint8

const (
	// Transactions takes out the whole source transaction of the event, and every
	// later one that touches a row of which something was taken out: what the sink
	// shows is always whole transactions (P4).
	Transactions Unit = iota
	// Events takes out the one event, and later ones of the same row (P3).
	Events
)

// Rules say when and how much is taken out.
type Rules struct {
	Unit Unit
	// Attempts is how often an event has to be refused; at least 1.
	Attempts int
}

// ErrAgain is returned by [Lot.Sort] if a transaction has to be taken out whose
// beginning was let through: the sink has to forget it, and everything from it on
// has to come again.
var ErrAgain = errors.New("a transaction comes behind one that was taken out, and its beginning was delivered already")

// Lot knows what was taken out. It is for one goroutine at a time.
type Lot struct {
	rules   Rules
	refused map[string]*refusal // by the id of the event or transaction
	letters map[string]struct{} // ids of those that are stored or about to be
	rows    map[uint64]place    // by hash of table and key
	tables  map[string]place
	seed    maphash.Seed
	open    transaction // whose end has not come
}

// place counts the letters of a row or a table.
type place struct {
	letters int
	last    string // the id of the newest
}

// transaction is one that a batch ended in the middle of.
type transaction struct {
	id  string
	out bool
}

// New returns a lot in which nothing is.
func New(r Rules) *Lot {
	r.Attempts = max(r.Attempts, 1)
	return &Lot{rules: r, refused: map[string]*refusal{}, letters: map[string]struct{}{}, rows: map[uint64]place{}, tables: map[string]place{}, seed: maphash.MakeSeed()}
}

// Add notes letters that are stored.
func (l *Lot) Add(letters []Letter) {
	for i := range letters {
		l.add(&letters[i].Event)
	}
}

// add notes an event, and reports whether it was not noted before.
func (l *Lot) add(e *entrain.Event) bool {
	id := e.ID()
	if _, known := l.letters[id]; known {
		return false
	}
	l.letters[id] = struct{}{}
	l.each(e, func(k row) { l.count(k, 1, id) })
	return true
}

// Remove forgets letters that are not stored any more, or could not be.
func (l *Lot) Remove(letters []Letter) {
	for i := range letters {
		e := &letters[i].Event
		id := e.ID()
		if _, known := l.letters[id]; known {
			delete(l.letters, id)
			l.each(e, func(k row) { l.count(k, -1, "") })
		}
	}
}

// Keep forgets all letters but these, and reports whether there were others. Letters
// that are not known are not added: they are of events that went another way.
func (l *Lot) Keep(these []Letter) (forgot bool) {
	there := make(map[string]struct{}, len(these))
	for i := range these {
		there[these[i].Event.ID()] = struct{}{}
	}
	for id := range l.letters {
		if _, kept := there[id]; kept {
			continue
		}
		forgot = true
		break
	}
	if !forgot {
		return false
	}
	before := l.letters
	l.letters, l.rows, l.tables = map[string]struct{}{}, map[uint64]place{}, map[string]place{}
	for i := range these {
		if _, known := before[these[i].Event.ID()]; known {
			l.add(&these[i].Event)
		}
	}
	return true
}

// Len is how many letters there are.
func (l *Lot) Len() int { return len(l.letters) }

// Begin notes that a session begins: whatever was not durable comes again.
func (l *Lot) Begin() { l.open = transaction{} }

// Condemn notes that an event, which is to come yet, is to be taken out; why has
// reason, class and time. It is said before a part of the event's transaction is
// sorted, or the next Sort of one returns [ErrAgain]. An event that is a letter
// already is none once more.
func (l *Lot) Condemn(e *entrain.Event, why Letter) {
	id := e.ID()
	if _, known := l.letters[id]; known {
		return
	}
	unit := l.unit(id, e.Op)
	if r := l.refused[unit]; r != nil && r.times >= l.rules.Attempts && r.reason != "" {
		return // its transaction is taken out because of another event
	}
	l.refused[unit] = &refusal{event: id, reason: why.Reason, class: why.Class, times: l.rules.Attempts, first: why.First}
}

// unit is the id under which a refusal is kept: an event's, or its transaction's.
// Rows that were there before the stream are no transaction.
func (l *Lot) unit(event string, op entrain.Op) string {
	if l.rules.Unit == Events || op == entrain.OpRead {
		return event
	}
	return event[:strings.LastIndexByte(event, '/')+1]
}

// Sort takes the events out of a batch that are not to be delivered. What is left
// has the batch's position; the batch itself is returned if that is all of it. The
// letters are those that are not stored yet: if that fails, they have to be removed.
func (l *Lot) Sort(b *entrain.Batch, now time.Time) (*entrain.Batch, []Letter, error) {
	if len(b.Events) == 0 {
		if !b.Through.IsZero() {
			l.open = transaction{}
		}
		return b, nil, nil
	}
	if !l.anything() {
		l.left(b, transaction{})
		return b, nil, nil
	}
	s := sorting{lot: l, now: now, pass: make([]entrain.Event, 0, len(b.Events))}
	for rest := b.Events; len(rest) > 0; {
		n := 1
		for n < len(rest) && same(rest[n].Tx, rest[0].Tx) {
			n++
		}
		if err := s.transaction(rest[:n]); err != nil {
			l.Remove(s.out) // nobody stores them
			return nil, nil, err
		}
		rest = rest[n:]
	}
	l.left(b, transaction{out: s.last})
	if len(s.pass) == len(b.Events) {
		return b, nil, nil
	}
	return &entrain.Batch{Events: s.pass, Through: b.Through, Filtered: b.Filtered, Bytes: b.Bytes}, s.out, nil
}

// anything reports whether an event could have to be taken out.
func (l *Lot) anything() bool { return len(l.refused) > 0 || len(l.letters) > 0 || l.open.out }

// left notes in the middle of what a batch ended.
func (l *Lot) left(b *entrain.Batch, last transaction) {
	l.open = transaction{}
	if b.Through.IsZero() {
		l.open = transaction{id: transactionID(&b.Events[len(b.Events)-1]), out: last.out}
	}
}

func same(a, b *entrain.Transaction) bool {
	return a == b || a.Version == b.Version && *a.Stream == *b.Stream
}

// transactionID is what the ids of a transaction's events begin with.
func transactionID(e *entrain.Event) string {
	id := e.ID()
	return id[:strings.LastIndexByte(id, '/')+1]
}

// sorting is one call of Sort.
type sorting struct {
	lot  *Lot
	now  time.Time
	pass []entrain.Event
	out  []Letter
	last bool // the last transaction was taken out
}

// transaction sorts a run of events of one transaction.
func (s *sorting) transaction(run []entrain.Event) error {
	if s.lot.rules.Unit == Events {
		s.last = false
		for i := range run {
			s.single(&run[i])
		}
		return nil
	}
	l, id := s.lot, transactionID(&run[0])
	goesOn := l.open.id == id
	why, out := l.why(run, id)
	switch {
	case goesOn && l.open.out:
		out = true
	case goesOn && out:
		l.refused[id] = &refusal{event: why.Behind, times: l.rules.Attempts, first: s.now}
		return ErrAgain
	}
	s.last = out
	for i := range run {
		switch e := &run[i]; {
		case e.Op == entrain.OpRead || beginsDouble(e):
			s.single(e)
		case !out || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd:
			s.pass = append(s.pass, *e) // what they say is about all rows to come
		default:
			s.take(e, why)
		}
	}
	return nil
}

// single sorts one event.
func (s *sorting) single(e *entrain.Event) {
	l := s.lot
	if r := l.refused[e.ID()]; r != nil && r.times >= l.rules.Attempts {
		s.take(e, l.letter(r))
		return
	}
	if behind, found := l.behind(e); found {
		s.take(e, Letter{Behind: behind})
		return
	}
	s.pass = append(s.pass, *e)
}

// why returns what a letter of the transaction has besides its event, and whether
// it is taken out.
func (l *Lot) why(run []entrain.Event, id string) (Letter, bool) {
	if r := l.refused[id]; r != nil && r.times >= l.rules.Attempts {
		return l.letter(r), true
	}
	for i := range run {
		if run[i].Op == entrain.OpRead {
			continue
		}
		if behind, found := l.behind(&run[i]); found {
			return Letter{Behind: behind}, true
		}
	}
	return Letter{}, false
}

// behind returns the id of a letter because of which an event is taken out: one of its
// rows, or its own, which a process left that ended before the position was behind it.
func (l *Lot) behind(e *entrain.Event) (id string, found bool) {
	if beginsDouble(e) {
		return "", false
	}
	if e.Table == nil { // of the others their rows tell
		id = e.ID()
		if _, known := l.letters[id]; known {
			return id, true
		}
	}
	return l.touches(e)
}

// beginsDouble reports whether an event empties doubles only, by which a table begins to be
// copied anew: no letter is about what is there before.
func beginsDouble(e *entrain.Event) bool {
	return e.Op == entrain.OpTruncate && e.Truncate != nil &&
		!slices.ContainsFunc(e.Truncate.Tables, func(t *entrain.Table) bool { return !t.Shadow })
}

func (l *Lot) letter(r *refusal) Letter {
	return Letter{Reason: r.reason, Class: r.class, Behind: r.event, Attempts: r.times, First: r.first}
}

// take takes out an event. Of a transaction, only the one event was refused.
func (s *sorting) take(e *entrain.Event, why Letter) {
	if !s.lot.add(e) {
		return
	}
	id := e.ID()
	if why.Behind == id {
		why.Behind = ""
	} else {
		why.Reason, why.Class, why.Attempts = "", "", 0
	}
	why.Event, why.At = copied(e), s.now
	if why.First.IsZero() {
		why.First = s.now
	}
	s.out = append(s.out, why)
}

// touches returns the id of a letter of one of the rows of an event.
func (l *Lot) touches(e *entrain.Event) (behind string, found bool) {
	l.each(e, func(k row) {
		at := l.tables[k.table]
		if !k.all && at.letters > 0 {
			whole := l.rows[l.whole(k.table)]
			if at = l.rows[k.hash]; at.letters == 0 {
				at = whole
			}
		}
		if at.letters > 0 {
			behind, found = at.last, true
		}
	})
	return behind, found
}

// Before returns the id of a letter that has to be delivered before the event; ""
// if there is none.
func (l *Lot) Before(e *entrain.Event) string {
	behind, _ := l.touches(e)
	return behind
}

func (l *Lot) count(k row, n int, id string) {
	if k.all {
		k.hash = l.whole(k.table)
	}
	l.rows[k.hash] = l.rows[k.hash].add(n, id)
	l.tables[k.table] = l.tables[k.table].add(n, id)
	if l.rows[k.hash].letters <= 0 {
		delete(l.rows, k.hash)
	}
	if l.tables[k.table].letters <= 0 {
		delete(l.tables, k.table)
	}
}

func (p place) add(n int, id string) place {
	p.letters += n
	if id != "" {
		p.last = id
	}
	return p
}

// copied returns an event that keeps nothing of its batch.
func copied(e *entrain.Event) entrain.Event {
	c := *e
	tx := *e.Tx
	c.Tx = &tx
	c.Before, c.After = bytes.Clone(e.Before), bytes.Clone(e.After)
	if e.Truncate != nil {
		t := *e.Truncate
		t.Tables = append([]*entrain.Table(nil), t.Tables...)
		c.Truncate = &t
	}
	if e.Message != nil {
		m := *e.Message
		m.Content = bytes.Clone(m.Content)
		c.Message = &m
	}
	return c
}

// Parked forgets the refusals of what was taken out, once it can not come again.
func (l *Lot) Parked(letters []Letter) {
	for i := range letters {
		delete(l.refused, l.unit(letters[i].Event.ID(), letters[i].Event.Op))
	}
}
