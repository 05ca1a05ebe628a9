package snapshot

import (
	"unsafe"

	"github.com/entrainsync/entrain"
)

// chunkBytes is about how much a batch holds (P6).
const chunkBytes = 1 << 20

const eventSize = int(unsafe.Sizeof(entrain.Event{}))

// chunk is the memory of one batch: its events and their rows back to back in
// one buffer. It goes from a reader to the engine and back through the pool.
type chunk struct {
	events []entrain.Event
	buf    []byte
	batch  entrain.Batch
}

func (c *chunk) size() int { return len(c.buf) + len(c.events)*eventSize }

// hand makes the chunk a batch, whose memory comes back to the pool.
func (c *chunk) hand(pool chunkPool) *entrain.Batch {
	c.batch = entrain.Batch{Events: c.events, Bytes: c.size(), Free: func() { pool.put(c) }}
	return &c.batch
}

// chunkPool holds chunks that can be used again. Get and put may be called
// from different goroutines.
type chunkPool chan *chunk

// pooledChunks bounds what an idle snapshot holds on to.
const pooledChunks = 32

func newChunkPool() chunkPool { return make(chunkPool, pooledChunks) }

// get returns a chunk. A row buffer has room behind the size that makes a chunk
// full, so that a usual last row does not make it grow.
func (p chunkPool) get() *chunk {
	select {
	case c := <-p:
		return c
	default:
		return &chunk{buf: make([]byte, 0, chunkBytes+chunkBytes/8)}
	}
}

// put takes a chunk back. One that grew around a large row is left to the
// garbage collector.
func (p chunkPool) put(c *chunk) {
	if cap(c.buf) > 2*chunkBytes || cap(c.events)*eventSize > 2*chunkBytes {
		return
	}
	clear(c.events) // drop what they point to
	c.events, c.buf, c.batch = c.events[:0], c.buf[:0], entrain.Batch{}
	select {
	case p <- c:
	default:
	}
}
