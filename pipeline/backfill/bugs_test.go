package backfill

import (
	"encoding/binary"
	"testing"

	"github.com/entrainsync/entrain"
)

// bug is a mistake planted into the core, or into how it is used.
type bug struct {
	name      string
	asked     func(*Copy)                      // after Next
	deliver   func(*Copy, *entrain.Event) bool // before Deliver; true skips it
	delivered func(*Copy)                      // after Deliver
	read      func(*Copy, *entrain.Chunk)      // before Read
	taken     func(*Copy)                      // after Read
	prune     bool                             // Saw without a look at the state
	early     bool                             // Applied before the sink has the rows
	unsettled bool                             // no wait for older transactions
	written   bool                             // the chunk's position is the flushed one
	logged    bool                             // what has committed in the log counts as visible
}

func (b *bug) saw(c *Copy, v entrain.View) {
	if b.prune {
		c.prune(v)
		return
	}
	c.Saw(v)
}

// ignore makes recorded changes that the test names have no effect on the rows.
func ignore(b bug, test func(op entrain.Op, moves bool) bool) bug {
	b.read = func(c *Copy, ch *entrain.Chunk) {
		r, start := &c.window.record, 0
		for i := range r.entries {
			e := &r.entries[i]
			moves := e.op == entrain.OpUpdate && string(r.bytes[start:e.old]) != string(r.bytes[e.old:e.new])
			if test(e.op, moves) {
				e.op = entrain.OpMessage
			}
			start = e.after
		}
	}
	return b
}

// nullify makes columns that the log lacks NULL.
func nullify(row entrain.Row, columns int) {
	for i := range columns {
		word := binary.LittleEndian.Uint32(row[4*i:])
		if row.State(i) == entrain.Unchanged {
			binary.LittleEndian.PutUint32(row[4*i:], word&(1<<30-1)|uint32(entrain.Null)<<30)
		}
	}
}

// overlook makes every transaction since Next count as contained. (The opposite
// is no mistake that could be found: changes that are merged once more, up to the
// same end, give the same rows, or a single for the key.)
func overlook(b bug) bug {
	const far = 1 << 30
	b.read = func(c *Copy, ch *entrain.Chunk) {
		for i := range c.window.record.entries {
			c.window.record.entries[i].tx = ch.View.Max - far
		}
	}
	b.taken = func(c *Copy) {
		if c.state == waiting {
			v := &c.window.chunk.View
			*v = entrain.View{Min: v.Max + far, Max: v.Max + far}
		}
	}
	return b
}

// keepPlace undoes that copying starts over.
func keepPlace(b bug) bug {
	var was Progress
	note := func(c *Copy) { was = c.progress.clone() }
	undo := func(c *Copy) {
		if c.progress.After == nil && was.After != nil {
			c.progress.After = was.After
		}
	}
	b.read = func(c *Copy, _ *entrain.Chunk) { note(c) }
	b.taken = undo
	b.deliver = func(c *Copy, _ *entrain.Event) bool { note(c); return false }
	b.delivered = undo
	return b
}

var bugs = []bug{
	{name: "no look at what was delivered before", read: func(c *Copy, _ *entrain.Chunk) { clear(c.touched) }},
	{name: "transactions of a discarded window forgotten", asked: func(c *Copy) {
		for id, epoch := range c.touched {
			if epoch > 0 {
				delete(c.touched, id)
			}
		}
	}},
	overlook(bug{name: "nothing merged"}),
	{
		name: "no merge of what the log lacks",
		read: func(c *Copy, _ *entrain.Chunk) {
			c.window.record.each(func(ch change) {
				if ch.op == entrain.OpInsert || ch.op == entrain.OpUpdate {
					nullify(ch.after, ch.columns)
				}
			})
		},
		deliver: func(c *Copy, e *entrain.Event) bool {
			if c.state == waiting && e.Op == entrain.OpUpdate && e.Before == nil {
				nullify(e.After, len(e.Table.Columns))
			}
			return false
		},
	},
	{name: "singles lost", delivered: func(c *Copy) { c.dropSingles() }},
	{name: "a full list emptied, and nothing read again", delivered: func(c *Copy) {
		if c.listed+2*singleBytes > c.maxListed {
			c.dropSingles()
		}
	}},
	{name: "a single under way hides the next", asked: func(c *Copy) {
		if of := c.window.query.Of; of != nil {
			c.singles[encodeTexts(of)] = struct{}{}
		}
	}},
	{name: "recording begins when the chunk was read", read: func(c *Copy, _ *entrain.Chunk) { c.window.record = record{} }},
	{name: "rows do not wait for the stream", read: func(_ *Copy, ch *entrain.Chunk) {
		ch.Reached = func(entrain.Position) bool { return true }
	}},
	{name: "rows wait for the flushed log only", written: true},
	ignore(bug{name: "changes of keys ignored"}, func(_ entrain.Op, moves bool) bool { return moves }),
	ignore(bug{name: "deletes ignored"}, func(op entrain.Op, _ bool) bool { return op == entrain.OpDelete }),
	ignore(bug{name: "truncates ignored"}, func(op entrain.Op, _ bool) bool { return op == entrain.OpTruncate }),
	{name: "a younger view of another table prunes", prune: true},
	{name: "progress saved before the rows", early: true},
	keepPlace(bug{name: "another key keeps the place"}),
	{name: "no wait for older transactions", unsettled: true},
	{name: "visibility decided by LSN", logged: true},
}

// TestBugs makes sure that the histories find mistakes.
func TestBugs(t *testing.T) {
	for _, b := range bugs {
		t.Run(b.name, func(t *testing.T) {
			seen := &sightings{discarded: map[Reason]int{}}
			for seed := uint64(1); seed <= 200_000; seed++ {
				if err := play(seed, &b, seen); err != nil {
					t.Logf("history %d: %v", seed, err)
					return
				}
			}
			t.Error("not found")
		})
	}
}
