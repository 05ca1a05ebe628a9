package transform

import (
	"unsafe"

	"github.com/entrainsync/entrain"
)

const (
	eventSize    = int(unsafe.Sizeof(entrain.Event{}))
	truncateSize = int(unsafe.Sizeof(entrain.Truncate{}))
)

// chunk is the memory of one batch: its events and those of their rows that
// had to be built anew. The rest belongs to the batch that it was made of,
// which is kept until this one is freed.
type chunk struct {
	events   []entrain.Event
	buf      []byte
	builder  entrain.RowBuilder
	other    int // bytes held elsewhere: truncates
	filtered int
	from     *entrain.Batch
	batch    entrain.Batch
	free     func() // made once
}

// project adds a row as the plan's target has it; nil stays nil.
func (c *chunk) project(p *plan, row entrain.Row) entrain.Row {
	if row == nil {
		return nil
	}
	row, c.buf = p.append(row, &c.builder, c.buf)
	return row
}

// identity adds a row that has only what identifies it.
func (c *chunk) identity(p *plan, row entrain.Row) entrain.Row {
	row, c.buf = p.appendIdentity(row, &c.builder, c.buf)
	return row
}

// hand makes a batch of the chunk, which keeps from until it is freed.
func (c *chunk) hand(from *entrain.Batch) *entrain.Batch {
	c.from = from
	c.batch = entrain.Batch{
		Events: c.events, Through: from.Through, Filtered: from.Filtered + c.filtered,
		Bytes: from.Bytes + len(c.buf) + len(c.events)*eventSize + c.other,
		Free:  c.free,
	}
	return &c.batch
}

// pool holds chunks that can be used again. Its methods may be called from
// different goroutines.
type pool chan *chunk

const (
	pooledChunks = 32      // what an idle pipeline holds on to
	pooledBytes  = 2 << 20 // a chunk that grew beyond it is left to the garbage collector
)

func newPool() pool { return make(pool, pooledChunks) }

func (p pool) get() *chunk {
	select {
	case c := <-p:
		return c
	default:
		c := &chunk{}
		c.free = func() { p.release(c) }
		return c
	}
}

// release frees the batch that the chunk was made of, and the chunk.
func (p pool) release(c *chunk) {
	from := c.from
	p.put(c)
	if from.Free != nil {
		from.Free()
	}
}

func (p pool) put(c *chunk) {
	if cap(c.buf) > pooledBytes || cap(c.events)*eventSize > pooledBytes {
		return
	}
	clear(c.events) // drop what they point to
	c.events, c.buf, c.other, c.filtered = c.events[:0], c.buf[:0], 0, 0
	c.from, c.batch = nil, entrain.Batch{}
	select {
	case p <- c:
	default:
	}
}
