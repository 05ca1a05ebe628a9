// Package backfill copies the rows of a table in chunks, by key, while the
// stream flows: rows that were read meet the changes that happen meanwhile, and
// come out as they are at one point of the stream.
//
// It is a state machine without I/O, clock or goroutine. The engine tells it what
// the stream delivers, reads the chunks that it asks for, and applies the rows
// that it hands out:
//
//	Next ──▶ the engine reads a chunk ──▶ Read ──▶ End … End: rows ──▶ sink ──▶ Applied
//	              Deliver, for every event of the table, all the time
//
// What makes the rows right: those that the chunk's view does not contain yet are
// merged with the recorded changes; those that it contains already are behind
// nothing that the stream still has to deliver, since the rows wait for the
// stream to reach the chunk; and where neither can be told, the chunk is read
// again.
//
// What the engine owes: it makes the [Copy] before the source's session settles
// ([entrain.ChunkSession.Settle]) and calls Next only afterwards; from then on it
// passes every event of the stream. After the stream was opened anew it does the
// same with a new Copy from the progress that was saved last.
package backfill

import (
	"errors"
	"slices"

	"github.com/entrainsync/entrain"
)

// ErrNoKey reports that rows of the table cannot be told apart, or not any more:
// its shape has no key, or an event came without a whole one. The Copy is of no
// use then.
var ErrNoKey = errors.New("the table's rows have no key")

// singlesPerChunk bounds how many keys are fetched one by one between two chunks,
// so that steady changes of keys do not hold up the table.
const singlesPerChunk = 8

// maxSinglesBytes bounds the list of those keys: it is saved whenever it grows.
const maxSinglesBytes = 1 << 20

// Copy is the copying of one table. It is for one goroutine.
type Copy struct {
	table     *entrain.Table // the shape to ask for, the latest that a chunk told
	keys      []int          // its key columns; never empty
	progress  Progress
	dirty     bool                // progress has changed since the caller was given it
	singles   map[string]struct{} // encoded keys of progress.Singles, without the one under way
	listed    int                 // bytes that progress.Singles count for; <= maxListed
	maxListed int
	chunkRows int
	maxBytes  int // of record
	rows      int // to ask for; 1 <= rows <= chunkRows
	walked    bool
	inRow     int  // singles since the last chunk; <= singlesPerChunk unless walked or many were listed
	inside    bool // a transaction that changed the table has not ended

	// touched is D: the transactions that were delivered and that the views so far
	// do not contain, each with the window in which it came: below epoch means
	// before the chunk under way was asked for. No value is above epoch.
	touched map[uint32]uint64
	epoch   uint64 // counts windows

	state  state
	window window // zero while idle
	fails  int
	reason Reason

	oldKey, newKey []byte // scratch
}

// state is what the chunk under way waits for.
type state uint8

const (
	idle     state = iota // there is none
	asked                 // to be read; events are recorded
	waiting               // for the stream to reach it; events are merged
	applying              // for the sink
)

// window is one chunk under way.
type window struct {
	query  entrain.ChunkQuery
	spoilt Reason // the chunk is of no use, to be discarded when it comes
	// record holds the table's events since the query; empty unless asked.
	record record
	// chunk and image are set from waiting on.
	chunk *entrain.Chunk
	image image
	count int // rows handed out
	// void: copying has started over while the sink had the rows.
	void bool
}

// New returns the copying of a table from where it has got to, the zero Progress
// to begin; an error is [ErrNoKey]. Chunks have up to chunkRows rows; while one is being read the table's
// changes are kept, up to about maxBytes. Both are at least 1. Keys of rows that have to
// be fetched one by one are kept up to as much, and to a megabyte: where there are
// more, copying starts over.
func New(t *entrain.Table, from Progress, chunkRows, maxBytes int) (*Copy, error) {
	c := &Copy{
		progress:  from.clone(),
		singles:   map[string]struct{}{},
		chunkRows: max(chunkRows, 1),
		maxBytes:  max(maxBytes, 1),
		maxListed: min(max(maxBytes, 1), maxSinglesBytes),
		rows:      max(chunkRows, 1),
		touched:   map[uint32]uint64{},
	}
	if err := c.adopt(t); err != nil {
		return nil, err
	}
	if from.Key != c.progress.Key && !from.Finished {
		c.restart(ReasonShape)
	}
	c.progress.Singles = slices.DeleteFunc(c.progress.Singles, func(key []string) bool {
		_, again := c.singles[encodeTexts(key)]
		c.singles[encodeTexts(key)] = struct{}{}
		return again
	})
	c.listed = listBytes(c.progress.Singles)
	if c.listed > c.maxListed {
		c.restart(ReasonOverflow)
	}
	return c, nil
}

// Next says what to read next, with a view that is taken after this call; from
// here on events are recorded. It returns false while a chunk is under way, when
// the table is finished, and inside a transaction: ask again after [Copy.End].
// What it asked for is answered by [Copy.Read] or [Copy.Abandon].
func (c *Copy) Next() (entrain.ChunkQuery, bool) {
	if c.state != idle || c.inside || c.progress.Finished {
		return entrain.ChunkQuery{}, false
	}
	q := entrain.ChunkQuery{Table: c.table, After: slices.Clone(c.progress.After), Rows: c.rows}
	if len(c.progress.Singles) > 0 && (c.walked || c.inRow < singlesPerChunk || c.listed > c.maxListed/2) {
		q.After, q.Of, q.Rows = nil, slices.Clone(c.progress.Singles[0]), 1
		// The same key may have to be fetched once more because of what happens now.
		delete(c.singles, encodeTexts(q.Of))
	}
	c.epoch++
	c.state, c.window = asked, window{query: q}
	return q, true
}

// Deliver takes an event of the stream, before it goes to the sink; others than
// of this table are ignored. It keeps nothing of the event. An error is
// [ErrNoKey]. When [Copy.Dirty] reports true afterwards, the progress is to be
// saved before the event goes on.
func (c *Copy) Deliver(e *entrain.Event) error {
	shape := c.shapeIn(e)
	if shape == nil || c.progress.Finished {
		return nil
	}
	c.inside = true
	if _, known := c.touched[uint32(e.Tx.ID)]; !known {
		c.touched[uint32(e.Tx.ID)] = c.epoch
	}
	keys := c.keys
	if shape.Version != c.table.Version {
		if keys = keyColumns(shape); len(keys) == 0 {
			return ErrNoKey
		}
		if !sameKey(shape, c.table) {
			c.restart(ReasonShape)
			return nil
		}
	}
	ch, err := c.read(e, shape, keys)
	if err != nil {
		return err
	}
	c.noteSingle(ch)
	if shape.Version != c.table.Version {
		c.spoil(ReasonShape)
		return nil
	}
	c.see(ch)
	return nil
}

// see records or merges a change of the window.
func (c *Copy) see(ch change) {
	w := &c.window
	switch {
	case c.state == asked && w.spoilt == "":
		w.record.add(ch)
		if w.record.size() > c.maxBytes {
			c.spoil(ReasonOverflow)
			c.rows = max(c.rows/2, 1)
		}
	case c.state == waiting && !w.chunk.View.Contains(ch.tx):
		w.image.merge(ch)
	}
}

// Read takes the chunk that Next has asked for. The Copy owns it from here on.
// An error is [ErrNoKey]. If a position is known that lies between two
// transactions and to which everything was delivered, the caller calls
// [Copy.End] with it: the stream may have reached the chunk already.
func (c *Copy) Read(ch *entrain.Chunk) error {
	if c.state != asked {
		return nil
	}
	if ch.Table.Version != c.window.query.Table.Version {
		c.window.spoilt = ReasonShape
		if err := c.adopt(ch.Table); err != nil {
			return err
		}
	}
	if c.unseen(ch.View) && c.window.spoilt == "" {
		c.window.spoilt = ReasonUnseen
	}
	c.prune(ch.View)
	if c.window.spoilt != "" {
		c.discard()
		return nil
	}
	w := &c.window
	w.chunk = ch
	if err := w.image.fill(ch, c.keys); err != nil {
		return err
	}
	w.record.each(func(e change) {
		if !ch.View.Contains(e.tx) {
			w.image.merge(e)
		}
	})
	w.record = record{}
	c.state = waiting
	return nil
}

// End takes the end of a transaction, or of several, whether they changed the
// table or not, and the position that a keepalive gives: everything up to at was
// delivered. With true, the rows are to be applied, as upserts, behind everything
// up to at and before anything after it, durable together with a position that is
// not before at; then [Copy.Applied] is called, in its turn also if there are no
// rows. They have the shape [Copy.Table] and are the caller's.
func (c *Copy) End(at entrain.Position) ([]entrain.Row, bool) {
	c.inside = false
	if c.state != waiting || !c.window.chunk.Reached(at) {
		return nil, false
	}
	rows := c.window.image.take()
	c.window.count = len(rows)
	c.state = applying
	return rows, true
}

// Applied takes that the sink has the rows durably, and returns the new progress,
// to be saved. A crash in between is no harm: the chunk is read again. It panics
// if no rows were handed out.
func (c *Copy) Applied() Progress {
	if c.state != applying {
		panic("backfill: Applied without rows")
	}
	w := &c.window
	if !w.void {
		c.advance(w)
	}
	c.fails, c.reason = 0, ""
	c.becomeIdle()
	return c.Progress()
}

// advance moves the progress over a chunk that was applied.
func (c *Copy) advance(w *window) {
	p := &c.progress
	p.Rows += int64(w.count)
	if w.query.Of != nil {
		c.dropFirst()
		c.inRow++
	} else {
		if w.chunk.Last != nil {
			p.After = slices.Clone(w.chunk.Last)
		}
		c.walked = !w.chunk.More
		c.inRow = 0
		c.rows = min(c.rows*2, c.chunkRows)
	}
	p.Finished = c.walked && len(p.Singles) == 0
}

// Abandon forgets the chunk under way: it could not be read, or the session of
// the sink ended before it had the rows. Nothing else is forgotten. Next asks for
// it again.
func (c *Copy) Abandon() {
	if c.state != idle {
		c.requeue()
		c.becomeIdle()
	}
}

// Saw takes a view that was read from the same source for another table, so that
// a table that waits for its turn keeps little.
func (c *Copy) Saw(v entrain.View) {
	// A chunk that is asked for may have an older view, which must be held against
	// everything that was delivered.
	if c.state != asked {
		c.prune(v)
	}
}

// maxTouched bounds how many transactions are remembered while no view comes (P6).
const maxTouched = 1 << 18

// Crowded reports whether the Copy remembers so many transactions that it should
// forget them: for hours no view may come, because reading is held, waits or fails.
func (c *Copy) Crowded() bool { return len(c.touched) >= maxTouched }

// Forget drops which transactions were delivered. The caller waits until the source's
// session has settled once more, from now on, before it asks for a chunk. One that is
// asked for is of no use.
func (c *Copy) Forget() {
	c.spoilAsked(ReasonOverflow)
	c.touched = map[uint32]uint64{}
}

// Discarded returns how many chunks were discarded one after the other, and why
// the last was; 0 once one was applied. The caller waits a little before it asks
// again, the longer the more there were.
func (c *Copy) Discarded() (int, Reason) { return c.fails, c.reason }

// Progress returns how far copying is, for saving, and ends being dirty.
func (c *Copy) Progress() Progress {
	c.dirty = false
	return c.progress.clone()
}

// Dirty reports whether the progress changed since it was last returned. It is
// saved before the event that changed it goes to the sink.
func (c *Copy) Dirty() bool { return c.dirty }

// Table returns the shape of the rows that were handed out, and under which the
// next chunk is asked for.
func (c *Copy) Table() *entrain.Table { return c.table }

// Last reports whether the rows that were handed out are the last that the table
// lacks. What happens from their position on needs no further chunk.
func (c *Copy) Last() bool {
	w := &c.window
	if c.state != applying || w.void {
		return false
	}
	if w.query.Of != nil {
		return c.walked && len(c.progress.Singles) == 1
	}
	return !w.chunk.More && len(c.progress.Singles) == 0
}

// Version returns that of the chunk whose rows were handed out; see
// [entrain.Chunk.Version]. Without such a chunk it is 0.
func (c *Copy) Version() uint64 {
	if c.window.chunk == nil {
		return 0
	}
	return c.window.chunk.Version
}

// Waits reports whether no chunk is under way and Next may ask for one.
func (c *Copy) Waits() bool { return c.state == idle && !c.inside && !c.progress.Finished }
