package capture

import (
	"encoding/binary"
	"testing"

	"github.com/entrainsync/entrain"
)

// packed writes messages as FuzzAssemble reads them: a length byte pair before
// each; a length of 0xFFFF asks for a batch.
func packed(steps ...any) []byte {
	var out []byte
	for _, step := range steps {
		switch step := step.(type) {
		case wire:
			out = binary.BigEndian.AppendUint16(out, uint16(len(step)))
			out = append(out, step...)
		case string:
			out = append(out, 0xFF, 0xFF)
		}
	}
	return out
}

// FuzzAssemble: whatever the messages are, the assembler does not panic, its
// fields keep their relations, a position comes only at the end of a
// transaction and versions increase (P3, P4).
func FuzzAssemble(f *testing.F) {
	for _, c := range assembleCases {
		f.Add(packed(c.steps...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a := testAssembler(0)
		check := batchCheck{t: t, increasing: true}
		for len(data) >= 2 {
			n := int(binary.BigEndian.Uint16(data))
			data = data[2:]
			if n == 0xFFFF {
				check.batch(takeAny(a))
				continue
			}
			n = min(n, len(data))
			check.begin(data[:n])
			if a.add(data[:n]) != nil {
				return
			}
			a.valid(t)
			data = data[n:]
		}
	})
}

// takeAny takes what there is, a fragment if nothing is complete.
func takeAny(a *assembler) *entrain.Batch {
	b := a.ended()
	if b == nil && len(a.cur.events) > 0 {
		return a.fragment()
	}
	return b
}

// valid checks the invariants on the assembler's fields.
func (a *assembler) valid(t *testing.T) {
	t.Helper()
	switch {
	case a.complete < 0 || a.complete > len(a.cur.events):
		t.Fatalf("%d of %d events are complete", a.complete, len(a.cur.events))
	case a.handed > a.end:
		t.Fatalf("handed out through %s, but only at %s", a.handed, a.end)
	case a.tx == nil && a.complete != len(a.cur.events):
		t.Fatalf("no transaction is open, but only %d of %d events are complete", a.complete, len(a.cur.events))
	case a.tx != nil && a.tx != &a.cur.txs[len(a.cur.txs)-1]:
		t.Fatal("the open transaction is not the chunk's last one")
	}
}

// batchCheck follows a stream of batches.
type batchCheck struct {
	t          *testing.T
	version    uint64
	ordinal    uint64
	open       bool // the last batch was a fragment of version
	last       uint64
	increasing bool // the stream's own versions did so far
}

// begin notes the version of a BEGIN or of a message outside transactions: a
// hostile stream need not be in order, and then no order can be expected.
func (c *batchCheck) begin(msg []byte) {
	at := 1
	switch {
	case len(msg) == 0 || msg[0] != 'B' && msg[0] != 'M':
		return
	case msg[0] == 'M':
		at = 2
	}
	if len(msg) < at+8 || msg[0] == 'M' && msg[1]&1 == 1 {
		return
	}
	version := binary.BigEndian.Uint64(msg[at:])
	if msg[0] == 'M' {
		version--
	}
	c.increasing = c.increasing && version > c.last
	c.last = version
}

func (c *batchCheck) batch(b *entrain.Batch) {
	c.t.Helper()
	if b == nil {
		return
	}
	if b.Through.IsZero() && len(b.Events) == 0 {
		c.t.Fatal("a batch without events has no position")
	}
	for i := range b.Events {
		e := &b.Events[i]
		c.event(e)
		if b.Through.IsZero() && e.Tx.Version != b.Events[0].Tx.Version {
			c.t.Fatal("a fragment holds two transactions")
		}
	}
	c.open = b.Through.IsZero()
	if b.Free != nil {
		b.Free()
	}
}

func (c *batchCheck) event(e *entrain.Event) {
	c.t.Helper()
	_ = showEvent(e) // reads all of it
	switch {
	case !c.increasing:
	case c.open && e.Tx.Version == c.version && e.Ordinal <= c.ordinal:
		c.t.Fatalf("ordinal %d after %d in version %d", e.Ordinal, c.ordinal, c.version)
	case e.Tx.Version < c.version:
		c.t.Fatalf("version %d after %d", e.Tx.Version, c.version)
	}
	c.version, c.ordinal = e.Tx.Version, e.Ordinal
}
