package capture

import (
	"unsafe"

	"github.com/entrainsync/entrain"
)

// chunkBytes is about how much a batch holds (P6). Larger batches are made by
// the engine, out of several.
const chunkBytes = 1 << 20

const (
	eventSize = int(unsafe.Sizeof(entrain.Event{}))
	txSize    = int(unsafe.Sizeof(entrain.Transaction{}))
)

// chunk is the memory of one batch: its events, their rows back to back in one
// buffer, their transactions. It goes from the assembler to the engine and
// back through the pool.
type chunk struct {
	events []entrain.Event
	txs    []entrain.Transaction
	buf    []byte
	other  int // bytes held elsewhere: messages, truncates
	batch  entrain.Batch
}

func (c *chunk) size() int {
	return len(c.buf) + len(c.events)*eventSize + len(c.txs)*txSize + c.other
}

// detailSize is what an event holds outside its chunk's buffer.
func detailSize(e *entrain.Event) int {
	const fixed = 64
	switch {
	case e.Message != nil:
		return fixed + len(e.Message.Prefix) + len(e.Message.Content)
	case e.Truncate != nil:
		return fixed + 8*len(e.Truncate.Tables)
	}
	return 0
}

// addTx adds a transaction and returns where it stays.
func (c *chunk) addTx(tx entrain.Transaction) *entrain.Transaction {
	c.txs = append(c.txs, tx)
	return &c.txs[len(c.txs)-1]
}

// keep copies a row of another chunk into this one.
func (c *chunk) keep(row entrain.Row) entrain.Row {
	if len(row) == 0 {
		return row // none, or one without columns
	}
	at := len(c.buf)
	c.buf = append(c.buf, row...)
	return entrain.Row(c.buf[at:len(c.buf):len(c.buf)])
}

// chunkPool holds chunks that can be used again. Get and put may be called
// from different goroutines.
type chunkPool chan *chunk

// pooledChunks bounds what an idle session holds on to.
const pooledChunks = 32

func newChunkPool() chunkPool { return make(chunkPool, pooledChunks) }

func (p chunkPool) get() *chunk {
	select {
	case c := <-p:
		return c
	default:
		return &chunk{}
	}
}

// like returns a chunk for as much as c holds: a large transaction goes on as it
// began, and a chunk that has its size at once need not grow to it.
func (p chunkPool) like(c *chunk) *chunk {
	next := p.get()
	if cap(next.buf) == 0 {
		next.buf = make([]byte, 0, min(roomy(len(c.buf)), chunkBytes))
		next.events = make([]entrain.Event, 0, min(roomy(len(c.events)), chunkBytes/eventSize))
	}
	return next
}

// roomy is n and a little, since no two chunks have the same rows.
func roomy(n int) int { return n + n/16 }

// put takes a chunk back. One that grew around a large row is left to the
// garbage collector.
func (p chunkPool) put(c *chunk) {
	if cap(c.buf) > 2*chunkBytes || cap(c.events)*eventSize > 2*chunkBytes {
		return
	}
	clear(c.events) // drop what they point to
	c.events, c.txs, c.buf, c.other = c.events[:0], c.txs[:0], c.buf[:0], 0
	c.batch = entrain.Batch{}
	select {
	case p <- c:
	default:
	}
}
