package backfill

import (
	"math/rand/v2"
	"strconv"

	"github.com/entrainsync/entrain"
)

// The model of a source: few rows, many transactions. A row is locked by the
// transaction that wrote it until that one is visible to others, which may be
// long after its commit is in the log (synchronous replication), or long before
// the log is on disk and can be streamed (asynchronous commit).

const (
	modelKeys = 8
	pairTable = 1 // has a key of two columns
)

// cells is a table's rows by key; the order of keys is that of the numbers, not
// that of their texts.
type cells [modelKeys]*cell

// cell is a row: a, which decides whether the filter lets it pass, and b, which
// is kept outside the row, so that the log lacks it when it stays.
type cell struct{ a, b string }

const hidden = "hidden"

type sourceTable struct {
	shape    *entrain.Table
	pair     bool // the key has two columns
	filtered bool
	added    bool // the stream has the table's changes
	latest   cells
	visible  cells
	lock     [modelKeys]*sourceTx
	emptied  *sourceTx // holds the whole table, also against readers
	readers  int
}

func (t *sourceTable) passes(c *cell) bool { return c != nil && !(t.filtered && c.a == hidden) }

func (t *sourceTable) quiet() bool {
	for _, tx := range t.lock {
		if tx != nil {
			return false
		}
	}
	return t.readers == 0
}

type sourceTx struct {
	xid    uint64
	ops    int
	tables []*sourceTable
	undo   []undo
	events []modelEvent
	// prepared for two phases: it ends much later.
	prepared bool
	logged   bool
}

type undo struct {
	t   *sourceTable
	key int
	was *cell
}

// modelEvent is an event with what the model needs to apply it.
type modelEvent struct {
	entrain.Event
	table    int // -1: a truncate of truncated
	key, was int
	partial  bool // the log lacks b
	row      cell
	emptied  []int
}

type source struct {
	rng     *rand.Rand
	tables  []*sourceTable
	xid     uint64
	running []*sourceTx // neither visible nor rolled back, in no order
	log     []*sourceTx // committed, in the order of their commits
	flushed int         // of log: what can be streamed
	values  int
	alters  bool
	delay   int // 0 to 5: how long a commit stays unseen
}

func newSource(rng *rand.Rand) *source {
	s := &source{rng: rng, xid: 1<<32 - uint64(rng.IntN(20)), alters: rng.IntN(4) == 0, delay: rng.IntN(6)}
	for i := range min(1+rng.IntN(5), 3) {
		t := &sourceTable{pair: i == pairTable, filtered: i != 0, added: rng.IntN(3) > 0}
		t.shape = s.newShape(i, 0)
		for k := range modelKeys {
			if rng.IntN(2) == 0 {
				t.latest[k] = s.newCell(nil)
			}
		}
		t.visible = t.latest
		s.tables = append(s.tables, t)
	}
	return s
}

var shapeCache = map[[2]int]*entrain.Table{}

// newShape returns a table's n-th shape; every third has another type of key.
func (s *source) newShape(i, n int) *entrain.Table {
	if t := shapeCache[[2]int{i, n}]; t != nil {
		return t
	}
	key := "int" + strconv.Itoa(n/3)
	t := &entrain.Table{Schema: "s", Name: "t" + strconv.Itoa(i)}
	t.Columns = append(t.Columns, entrain.Column{Name: "a", Type: "text", Modifier: int32(n)})
	t.Columns = append(t.Columns, entrain.Column{Name: "k", Type: key, Key: true})
	if i == pairTable {
		t.Columns = append(t.Columns, entrain.Column{Name: "l", Type: key, Key: true})
	}
	t.Columns = append(t.Columns, entrain.Column{Name: "b", Type: "text"})
	t.Version = t.Fingerprint()
	shapeCache[[2]int{i, n}] = t
	return t
}

// newCell returns new values; those of was stay now and then.
func (s *source) newCell(was *cell) *cell {
	s.values++
	v := strconv.Itoa(s.values)
	c := &cell{a: "a" + v, b: "b" + v}
	if s.rng.IntN(4) == 0 {
		c.a = hidden
	}
	if s.rng.IntN(8) == 0 {
		c.a = "" // NULL
	}
	if was != nil && s.rng.IntN(3) > 0 {
		c.b = was.b
	}
	return c
}

func (s *source) newXID() uint64 {
	s.xid++
	return s.xid - 1
}

func (s *source) begin() {
	if len(s.running) < 5 {
		s.running = append(s.running, &sourceTx{xid: s.newXID(), ops: 1 + s.rng.IntN(4), prepared: s.rng.IntN(10) == 0})
	}
}

// work lets one transaction go on by one step.
func (s *source) work() {
	if len(s.running) == 0 {
		s.begin()
		return
	}
	i := s.rng.IntN(len(s.running))
	tx := s.running[i]
	switch {
	case tx.logged:
		if s.rng.IntN(1+s.delay) == 0 {
			s.end(i)
		}
	case tx.ops > 0:
		tx.ops--
		s.write(tx)
	case tx.prepared && s.rng.IntN(6) > 0:
	case s.rng.IntN(6) == 0:
		s.rollback(i)
	default:
		s.commit(tx)
		if s.rng.IntN(1+s.delay) == 0 {
			s.end(i)
		}
	}
}

func (s *source) commit(tx *sourceTx) {
	tx.logged = true
	s.log = append(s.log, tx)
	info := &entrain.Transaction{ID: uint64(uint32(tx.xid)), Version: uint64(len(s.log))}
	for i := range tx.events {
		tx.events[i].Tx = info
	}
	if s.rng.IntN(3) > 0 {
		s.flushed = len(s.log)
	}
}

// end makes a transaction visible and frees its locks.
func (s *source) end(i int) {
	tx := s.running[i]
	s.running = append(s.running[:i], s.running[i+1:]...)
	for _, t := range tx.tables {
		for k := range t.lock {
			if t.lock[k] == tx {
				t.visible[k] = t.latest[k]
				t.lock[k] = nil
			}
		}
		if t.emptied == tx {
			t.emptied = nil
		}
	}
}

func (s *source) rollback(i int) {
	tx := s.running[i]
	for j := len(tx.undo) - 1; j >= 0; j-- {
		u := tx.undo[j]
		u.t.latest[u.key] = u.was
	}
	s.end(i)
}

func (s *source) write(tx *sourceTx) {
	i := s.rng.IntN(len(s.tables))
	t := s.tables[i]
	if s.rng.IntN(25) == 0 {
		s.truncate(tx, i)
		return
	}
	key, to := s.rng.IntN(modelKeys), s.rng.IntN(modelKeys)
	if t.emptied != nil && t.emptied != tx || !t.take(tx, key) {
		return
	}
	was := t.latest[key]
	switch {
	case was == nil:
		s.set(tx, t, key, s.newCell(nil))
		s.emit(tx, i, modelEvent{key: key, was: key})
	case s.rng.IntN(4) == 0:
		s.set(tx, t, key, nil)
		s.emit(tx, i, modelEvent{key: -1, was: key})
	case s.rng.IntN(3) == 0 && to != key && t.take(tx, to) && t.latest[to] == nil:
		s.set(tx, t, key, nil)
		s.set(tx, t, to, s.newCell(was))
		s.emit(tx, i, modelEvent{key: to, was: key})
	default:
		s.set(tx, t, key, s.newCell(was))
		s.emit(tx, i, modelEvent{key: key, was: key})
	}
}

// take locks a row for a transaction, or says that another one has it.
func (t *sourceTable) take(tx *sourceTx, key int) bool {
	if t.lock[key] != nil && t.lock[key] != tx {
		return false
	}
	t.lock[key] = tx
	for _, known := range tx.tables {
		if known == t {
			return true
		}
	}
	tx.tables = append(tx.tables, t)
	return true
}

func (s *source) set(tx *sourceTx, t *sourceTable, key int, c *cell) {
	tx.undo = append(tx.undo, undo{t, key, t.latest[key]})
	t.latest[key] = c
}

func (s *source) truncate(tx *sourceTx, first int) {
	e := modelEvent{table: -1}
	e.Op, e.Truncate = entrain.OpTruncate, &entrain.Truncate{}
	for i, t := range s.tables {
		if i != first && s.rng.IntN(4) > 0 || t.emptied != nil || !t.quiet() {
			continue
		}
		t.emptied = tx
		for k := range modelKeys {
			t.take(tx, k)
			s.set(tx, t, k, nil)
		}
		if t.added {
			e.emptied = append(e.emptied, i)
			e.Truncate.Tables = append(e.Truncate.Tables, t.shape)
		}
	}
	if len(e.emptied) > 0 {
		tx.events = append(tx.events, e)
	}
}

// alter gives a table another shape.
func (s *source) alter() {
	i := s.rng.IntN(len(s.tables))
	t := s.tables[i]
	if t.quiet() {
		s.newXID()
		t.shape = s.newShape(i, s.rng.IntN(6))
	}
}

// emit puts into the log what the filter leaves of a change, whose old row is the
// last undo of its old key.
func (s *source) emit(tx *sourceTx, i int, e modelEvent) {
	t := s.tables[i]
	var was, is *cell
	for j := len(tx.undo) - 1; j >= 0 && was == nil; j-- {
		if u := tx.undo[j]; u.t == t && u.key == e.was {
			was = u.was
			break
		}
	}
	if e.key >= 0 {
		is = t.latest[e.key]
	}
	before, after := t.passes(was), t.passes(is)
	if !t.added || !before && !after {
		return
	}
	e.table, e.Table = i, t.shape
	if after {
		e.row = *is
		e.partial = was != nil && was.b == is.b
		logged := e.row
		if e.partial {
			logged.b = unchanged
		}
		e.After = s.rowOf(t, e.key, logged)
	}
	switch {
	case !before:
		e.Op, e.was = entrain.OpInsert, e.key
	case !after:
		e.Op, e.key = entrain.OpDelete, -1
		e.Before = s.keyOf(t, e.was)
	default:
		s.update(t, &e)
	}
	tx.events = append(tx.events, e)
}

func (s *source) update(t *sourceTable, e *modelEvent) {
	e.Op = entrain.OpUpdate
	if e.key != e.was {
		e.Before = s.keyOf(t, e.was)
		return
	}
	if t.pair && e.partial && s.rng.IntN(2) == 0 {
		// A part of the key is kept outside the row too.
		e.Before = s.keyOf(t, e.was)
		e.After = buildRow(t, []string{e.row.a, strconv.Itoa(e.key / 3), unchanged, unchanged})
	}
}

// unchanged stands for the state in the texts of buildRow, "" for NULL.
const unchanged = "\x00"

func buildRow(t *sourceTable, texts []string) entrain.Row {
	var b entrain.RowBuilder
	b.Begin(make([]byte, 0, 48), len(t.shape.Columns))
	for _, text := range texts {
		switch text {
		case "":
			b.Null()
		case unchanged:
			b.Unchanged()
		default:
			b.Value([]byte(text))
		}
	}
	row, _ := b.End()
	return row
}

func (s *source) rowOf(t *sourceTable, key int, c cell) entrain.Row {
	texts := append(make([]string, 0, 4), c.a)
	texts = append(texts, t.keyTexts(key)...)
	return buildRow(t, append(texts, c.b))
}

func (s *source) keyOf(t *sourceTable, key int) entrain.Row {
	texts := append(make([]string, 0, 4), unchanged)
	texts = append(texts, t.keyTexts(key)...)
	return buildRow(t, append(texts, unchanged))
}

// keyTexts are chosen so that their order as texts is another one: 11, 10, 9, ….
func (t *sourceTable) keyTexts(key int) []string {
	if t.pair {
		return []string{strconv.Itoa(key / 3), strconv.Itoa(12 - key%3)}
	}
	return []string{strconv.Itoa(5 + key)}
}

func (t *sourceTable) keyFrom(texts []string) int {
	a, _ := strconv.Atoi(texts[0])
	if t.pair {
		b, _ := strconv.Atoi(texts[1])
		return a*3 + 12 - b
	}
	return a - 5
}

// ordered returns the key at a place in the table's order, or the place of a key:
// another type of key turns the order round.
func (t *sourceTable) ordered(i int) int {
	if t.shape.Columns[1].Type == "int0" {
		return i
	}
	return modelKeys - 1 - i
}

func (s *source) view() entrain.View {
	v := entrain.View{Min: s.xid, Max: s.xid}
	for _, tx := range s.running {
		v.Min = min(v.Min, tx.xid)
		v.Open = append(v.Open, tx.xid)
	}
	return v
}

// logged is a view by the log: what has committed there by now counts as visible,
// whether others see it yet or not.
func (s *source) logged() entrain.View {
	v := entrain.View{Min: s.xid, Max: s.xid}
	for _, tx := range s.running {
		if !tx.logged {
			v.Min = min(v.Min, tx.xid)
			v.Open = append(v.Open, tx.xid)
		}
	}
	return v
}
