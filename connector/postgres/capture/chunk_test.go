package capture

import (
	"testing"

	"github.com/entrainsync/entrain"
)

// TestChunkLike: the next chunk of a large transaction has room for what the
// last one held, but not for a large row that the last one grew around (P6).
func TestChunkLike(t *testing.T) {
	pool := newChunkPool()
	full := &chunk{buf: make([]byte, 700<<10), events: make([]entrain.Event, 3000)}
	next := pool.like(full)
	if len(next.buf) != 0 || len(next.events) != 0 {
		t.Fatalf("a new chunk holds %d bytes and %d events", len(next.buf), len(next.events))
	}
	if cap(next.buf) < len(full.buf) || cap(next.events) < len(full.events) {
		t.Errorf("room for %d bytes and %d events", cap(next.buf), cap(next.events))
	}
	large := pool.like(&chunk{buf: make([]byte, 64*chunkBytes), events: make([]entrain.Event, 1)})
	if cap(large.buf) > chunkBytes {
		t.Errorf("a large row makes the next chunk one of %d bytes", cap(large.buf))
	}
	pool.put(next)
	if again := pool.like(full); again != next {
		t.Error("a chunk that is free was not used again")
	}
}
