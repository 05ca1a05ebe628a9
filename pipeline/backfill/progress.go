package backfill

import (
	"slices"

	"github.com/entrainsync/entrain"
)

// Progress is how far the copying of a table is; the engine saves it as JSON.
type Progress struct {
	// After is the key of the last row of the chunks that were applied, as in
	// [entrain.ChunkQuery.After]; nil at the beginning.
	After []string `json:"after,omitempty"`
	// Key is a fingerprint of the key's columns: under another key After and Singles
	// mean nothing, and copying starts over.
	Key uint64 `json:"key,omitempty"`
	// Rows counts the rows that were applied.
	Rows int64 `json:"rows,omitempty"`
	// Singles are the keys of rows that the stream brought without a part, so that
	// the sink may lack them: each is fetched by a chunk of its own.
	Singles [][]string `json:"singles,omitempty"`
	// Finished: the sink has the table as the stream has it, and nothing is left.
	Finished bool `json:"finished,omitempty"`
}

func (p Progress) clone() Progress {
	p.After = slices.Clone(p.After)
	singles := p.Singles
	p.Singles = nil
	for _, key := range singles {
		p.Singles = append(p.Singles, slices.Clone(key))
	}
	return p
}

// Reason is why a chunk was discarded, as one word for logs and status.
type Reason string

// The reasons.
const (
	// ReasonUnseen: the stream had delivered a transaction that the chunk's view
	// did not contain yet. With synchronous replication a commit is in the log
	// before it is visible.
	ReasonUnseen Reason = "unseen"
	// ReasonShape: the table's shape changed.
	ReasonShape Reason = "shape"
	// ReasonOverflow: the table changed too much, or too often, while the chunk was
	// read, or too many of its rows came without a part. After the first the next one
	// is smaller, after the last copying starts over.
	ReasonOverflow Reason = "overflow"
)

// noteSingle adds the key of a row that came without a part: where the sink has
// not the row that it is a change of, it cannot make it.
func (c *Copy) noteSingle(ch change) {
	switch {
	case ch.op == entrain.OpTruncate:
		c.dropSingles()
		return
	case ch.op != entrain.OpInsert && !ch.moves():
		return
	case !ch.partial():
		return
	}
	key := string(ch.new)
	if _, known := c.singles[key]; known {
		return
	}
	if c.listed+len(key)+singleBytes > c.maxListed {
		// Every chunk from now on shows this row and the listed ones as they are.
		c.restart(ReasonOverflow)
		return
	}
	c.singles[key] = struct{}{}
	c.progress.Singles = append(c.progress.Singles, decodeTexts(ch.new))
	c.listed += len(key) + singleBytes
	c.dirty = true
}

// singleBytes is about what a key in the list and in the set takes beside its text.
const singleBytes = 100

// listBytes is what keys to be fetched count for.
func listBytes(keys [][]string) (n int) {
	for _, key := range keys {
		n += len(encodeTexts(key)) + singleBytes
	}
	return n
}

// dropFirst takes the first key off the list.
func (c *Copy) dropFirst() {
	c.listed -= listBytes(c.progress.Singles[:1])
	c.progress.Singles = c.progress.Singles[1:]
}

// dropSingles forgets the keys to be fetched, but for one that is under way.
func (c *Copy) dropSingles() {
	keep := 0
	if c.window.query.Of != nil && !c.window.void {
		keep = 1
	}
	if len(c.progress.Singles) > keep {
		c.progress.Singles = c.progress.Singles[:keep:keep]
		c.dirty = true
	}
	c.listed = listBytes(c.progress.Singles)
	clear(c.singles)
}

// restart starts copying over, since the table has another key, and what After and
// Singles name is nothing any more, or since there are too many of these. Every row
// is read again, and views that do not contain what was delivered until then are
// refused.
func (c *Copy) restart(why Reason) {
	p := &c.progress
	if p.After != nil || p.Singles != nil || p.Rows != 0 {
		*p = Progress{Key: p.Key}
		c.dirty = true
	}
	clear(c.singles)
	c.walked, c.inRow, c.listed = false, 0, 0
	if c.state == applying {
		c.window.void = true
		return
	}
	c.window.query.Of = nil // it is in the list no more
	c.spoil(why)
}

// adopt takes the shape under which the source has the table.
func (c *Copy) adopt(t *entrain.Table) error {
	keys := keyColumns(t)
	if len(keys) == 0 {
		return ErrNoKey
	}
	if c.table != nil && !sameKey(t, c.table) {
		c.restart(ReasonShape)
	}
	c.table, c.keys = t, keys
	c.progress.Key = fingerprint(t, keys)
	return nil
}

// spoil makes the chunk under way useless; the sink may have its rows already.
func (c *Copy) spoil(why Reason) {
	c.spoilAsked(why)
	if c.state == waiting {
		c.window.spoilt = why
		c.discard()
	}
}

// spoilAsked makes a chunk useless whose view is not known yet.
func (c *Copy) spoilAsked(why Reason) {
	if c.state != asked {
		return
	}
	if c.window.spoilt == "" {
		c.window.spoilt = why
	}
	c.window.record = record{}
}

// discard gives up the chunk under way, to be asked for again.
func (c *Copy) discard() {
	c.fails++
	c.reason = c.window.spoilt
	c.requeue()
	c.becomeIdle()
}

// requeue makes the single under way one like the others; it may be listed again
// because of what has happened meanwhile.
func (c *Copy) requeue() {
	of := c.window.query.Of
	if of == nil || c.window.void {
		return
	}
	key := encodeTexts(of)
	if _, again := c.singles[key]; again {
		c.dropFirst()
	}
	c.singles[key] = struct{}{}
}

func (c *Copy) becomeIdle() { c.state, c.window = idle, window{} }

// unseen reports whether a transaction that was delivered before the chunk was
// asked for is missing in its view: the sink may be ahead of the rows.
func (c *Copy) unseen(v entrain.View) bool {
	for id, epoch := range c.touched {
		if epoch < c.epoch && !v.Contains(uint64(id)) {
			return true
		}
	}
	return false
}

// prune forgets transactions that every later view contains too.
func (c *Copy) prune(v entrain.View) {
	for id := range c.touched {
		if v.Contains(uint64(id)) {
			delete(c.touched, id)
		}
	}
}
