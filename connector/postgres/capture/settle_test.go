package capture

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

// What the server is told as written never passes what is read and not
// confirmed: whoever compares both ends relies on it.
func TestSettledIsWhatTheSinkDoesNotLack(t *testing.T) {
	r := &reader{asm: newAssembler(&entrain.Stream{}, place{at: 10}, newRelations(nil)), fb: newFeedback(nil, 10, time.Hour), net: &coalescer{}}
	after := func(end lsn, what string, want lsn) {
		t.Helper()
		b := make([]byte, keepaliveSize)
		binary.BigEndian.PutUint64(b[1:], uint64(end))
		r.keepalive(b)
		if got := lsn(r.fb.settled.Load()); got != want {
			t.Errorf("%s: settled %d at %d, want %d", what, got, end, want)
		}
	}
	after(20, "nothing of ours", 20)
	r.asm.tx = &entrain.Transaction{}
	after(30, "in a transaction", 20)
	r.asm.tx, r.asm.complete = nil, 1
	after(31, "a transaction is at hand", 20)
	r.asm.complete, r.asm.handed = 0, 31
	after(40, "it was handed out", 20)
	r.fb.confirm(30)
	after(41, "something else is confirmed", 20)
	r.fb.confirm(31)
	after(42, "it is confirmed", 42)
	r.asm.owes = true
	after(50, "its position is owed", 42)
}
