package backfill

import (
	"fmt"
	"slices"
)

// valid holds a Copy against the invariants of its fields.
func (c *Copy) valid() error {
	p, w := &c.progress, &c.window
	for id, epoch := range c.touched {
		if epoch > c.epoch {
			return fmt.Errorf("transaction %d is of window %d, after %d", id, epoch, c.epoch)
		}
	}
	switch {
	case c.rows < 1 || c.rows > c.chunkRows:
		return fmt.Errorf("rows %d of %d", c.rows, c.chunkRows)
	case len(c.keys) == 0:
		return fmt.Errorf("no key columns")
	case p.Finished && (c.state != idle || len(p.Singles) > 0):
		return fmt.Errorf("finished in state %d with %d singles", c.state, len(p.Singles))
	case c.state == idle && (w.query.Table != nil || w.chunk != nil || w.spoilt != ""):
		return fmt.Errorf("idle with a window")
	case c.state != idle && w.query.Table == nil:
		return fmt.Errorf("state %d without a query", c.state)
	case c.state >= waiting && (w.chunk == nil || w.spoilt != ""):
		return fmt.Errorf("state %d without a good chunk", c.state)
	case c.state != asked && w.record.size() > 0 || w.spoilt != "" && w.record.size() > 0:
		return fmt.Errorf("state %d with a record", c.state)
	case w.record.size() > c.maxBytes:
		return fmt.Errorf("a record of %d bytes, above %d", w.record.size(), c.maxBytes)
	case w.query.Of != nil && !w.void && (len(p.Singles) == 0 || !slices.Equal(p.Singles[0], w.query.Of)):
		return fmt.Errorf("%q is under way, not the first of %q", w.query.Of, p.Singles)
	}
	if err := c.validSingles(); err != nil {
		return err
	}
	return c.validImage()
}

func (c *Copy) validSingles() error {
	listed := c.progress.Singles
	if n := listBytes(listed); n != c.listed || n > c.maxListed {
		return fmt.Errorf("singles of %d bytes count for %d of %d", n, c.listed, c.maxListed)
	}
	if c.window.query.Of != nil && !c.window.void {
		listed = listed[1:]
	}
	for _, key := range listed {
		if _, ok := c.singles[encodeTexts(key)]; !ok {
			return fmt.Errorf("single %q is not in the set", key)
		}
	}
	if len(c.singles) > len(listed) {
		return fmt.Errorf("%d singles in the set, %d listed", len(c.singles), len(listed))
	}
	return nil
}

func (c *Copy) validImage() error {
	m := &c.window.image
	live := 0
	for _, row := range m.rows {
		if row != nil {
			live++
		}
	}
	if live != len(m.at) {
		return fmt.Errorf("%d rows, %d in the index", live, len(m.at))
	}
	for key, i := range m.at {
		n := len(c.table.Columns)
		if is, err := appendKey(nil, c.keys, n, m.rows[i]); err != nil || string(is) != key {
			return fmt.Errorf("row %d is indexed as %q, is %q (%v)", i, key, is, err)
		}
	}
	return nil
}
