package capture

import "github.com/entrainsync/entrain"

// full reports that what is at hand is due: it is a batch's worth, or ends a
// transaction that came in fragments, which the next one's may not follow
// without a Through in between.
func (a *assembler) full() bool {
	return a.cur.size() >= chunkBytes || a.owes && a.tx == nil
}

// ended returns what is complete as a batch, nil if there is none. What has
// begun of the next transaction moves to a new chunk.
func (a *assembler) ended() *entrain.Batch {
	if a.complete == 0 {
		if a.owes {
			return a.idle() // the rest of the transaction had no events
		}
		return nil
	}
	c := a.cur
	a.cur = a.pool.get()
	a.carry(c)
	return a.hand(c, a.complete)
}

// fragment returns what there is of the open transaction, which is not
// complete, as a batch. It may be called when ended has nothing.
func (a *assembler) fragment() *entrain.Batch {
	c := a.cur
	a.cur = a.pool.like(c)
	if a.tx != nil {
		a.tx = a.cur.addTx(*a.tx)
	}
	a.owes = true
	return a.hand(c, len(c.events))
}

// idle returns a batch that only moves the position, nil if that would not
// move it. It may be called when ended has nothing.
func (a *assembler) idle() *entrain.Batch {
	if a.end <= a.handed || a.tx != nil {
		return nil
	}
	a.handed, a.owes = a.end, false
	return &entrain.Batch{Through: a.at(a.end).position(a.stream.Incarnation)}
}

// hand makes the first n events of c a batch, which is complete if they are
// the complete ones.
func (a *assembler) hand(c *chunk, n int) *entrain.Batch {
	size := c.size()
	b := &c.batch
	*b = entrain.Batch{Events: c.events[:n:n], Bytes: size, Free: func() { a.pool.put(c) }}
	if n == a.complete && n > 0 {
		b.Through = a.at(a.end).position(a.stream.Incarnation)
		a.handed, a.owes = a.end, false
	}
	a.complete = 0
	return b
}

// carry copies the events behind the complete ones, all of the open
// transaction, and the transaction itself, into the current chunk.
func (a *assembler) carry(c *chunk) {
	if a.tx == nil {
		return
	}
	a.tx = a.cur.addTx(*a.tx)
	for _, e := range c.events[a.complete:] {
		e.Tx = a.tx
		e.Before = a.cur.keep(e.Before)
		e.After = a.cur.keep(e.After)
		a.cur.events = append(a.cur.events, e)
		a.cur.other += detailSize(&e)
	}
}

// empty reports that nothing was read that was not handed out.
func (a *assembler) empty() bool { return a.tx == nil && a.complete == 0 && !a.owes }

func (a *assembler) at(l lsn) place { return place{at: l, timeline: a.timeline} }
