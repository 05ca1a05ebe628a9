package entraintest

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
)

func sinkDurable(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.check("before the first write")
	for i := range int64(5) {
		g.commit(std(i, Text("row"), Null, Text("1.50")))
		g.check("when Write returned")
	}
	g.close()
	g.check("after Close")
}

func sinkOperations(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(
		std(1, Text("one"), filler(1, large), Text("12345678901234567890.1234567890")),
		std(-2, Null, Text("\\N"), Text("NaN")),
		std(9007199254740993, Text("it's \\ \"\t\n\x7f ☃ 🎉"), Text(""), Text("1.00")))
	g.check("after inserts")
	g.commit(
		set(1, Text("uno"), Text("short"), Text("0")),
		set(1, Text("ein"), Text("shorter"), Text("-1")),
		remove(-2),
		set(9007199254740993, Text("☃"), Text(" "), Null))
	g.check("after updates and a delete")
	var many []entrain.Event
	for i := range int64(500) {
		many = append(many, std(100+i, Text("many"), Null, Text("7")))
	}
	for i := range int64(200) {
		many = append(many, set(100+2*i, Text("even"), Text("set"), Unchanged), remove(101+2*i))
	}
	g.commit(many...)
	g.check("after a transaction of many changes")
	g.write(g.batch(true, []entrain.Event{remove(1)}, []entrain.Event{std(1, Null, Null, Null)},
		[]entrain.Event{set(1, Text("last"), Null, Null)}))
	g.check("after three transactions in one batch")
}

func sinkNullAndUnchanged(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), filler(1, large), Null), std(2, Null, Null, Text("2")), std(3, Text(""), Text(""), Null))
	g.commit(set(1, Text("b"), Unchanged, Unchanged), set(2, Text("c"), Unchanged, Unchanged))
	g.check("after updates that leave columns unchanged")
	g.commit(set(1, Unchanged, Null, Text("1")), set(3, Null, Unchanged, Unchanged))
	g.check("after updates that set NULL")
	g.commit(set(1, Unchanged, Text("x"), Unchanged), set(1, Null, Unchanged, Unchanged), set(1, Unchanged, Unchanged, Null))
	g.check("after updates of one row that leave different columns unchanged")
	g.commit(std(4, Text("new"), filler(4, large), Text("4")), set(4, Text("newer"), Unchanged, Unchanged))
	g.check("after an insert and an update of the row in one transaction")
}

func sinkKeyChange(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), filler(1, large), Text("1")), std(2, Text("b"), Null, Null))
	g.commit(move(1, 10, Unchanged, Unchanged, Unchanged))
	g.check("after a key change")
	g.commit(set(10, Text("c"), Unchanged, Unchanged), move(10, 11, Null, Unchanged, Unchanged),
		std(10, Text("other"), Null, Null), move(11, 12, Unchanged, Unchanged, Text("5")), move(2, 1, Unchanged, Unchanged, Unchanged))
	g.check("after key changes among other changes")
	g.commit(move(1, 90, Unchanged, Unchanged, Unchanged), move(12, 1, Unchanged, Unchanged, Unchanged),
		move(90, 12, Unchanged, Unchanged, Unchanged))
	g.check("after two rows swapped their keys")
}

func sinkDeleteAndInsert(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), Text("body"), Text("1")))
	g.commit(remove(1), std(1, Text("b"), Null, Null))
	g.check("after delete and insert")
	g.commit(std(2, Null, Null, Null), remove(2))
	g.check("after insert and delete")
	g.write(g.batch(true, []entrain.Event{remove(1)}, []entrain.Event{std(1, Text("c"), Text("d"), Null), remove(1)},
		[]entrain.Event{std(1, Null, Null, Text("3"))}))
	g.check("after delete, insert, delete and insert in three transactions of a batch")
}

func sinkTruncate(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Null, Null, Null), std(2, Null, Null, Null))
	g.commit(empty())
	g.check("after truncate")
	g.commit(std(1, Text("a"), Null, Null), empty(), std(1, Text("b"), Null, Null), std(3, Null, Null, Null))
	g.check("after insert, truncate and insert in one transaction")
}

func sinkFragments(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), Null, Null))
	for i := range int64(20) {
		g.write(g.batch(false, []entrain.Event{std(10+i, Text("part"), filler(uint64(i), large), Null)}))
	}
	g.write(g.batch(false, []entrain.Event{set(10, Text("late"), Unchanged, Unchanged), remove(11)}))
	g.write(g.batch(true, []entrain.Event{remove(1)}, []entrain.Event{std(11, Text("next"), Null, Null)}))
	g.check("after the end of a transaction in fragments and another transaction")
	g.write(g.batch(false, []entrain.Event{remove(10)}))
	g.write(g.batch(true))
	g.check("after an empty batch that ends a transaction")
}

func sinkInvisible(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), Null, Null))
	for i := range int64(5) {
		g.write(g.batch(false, []entrain.Event{std(10+i, Null, filler(uint64(i), large), Null), set(1, Text("b"), Null, Null)}))
		g.check("in the middle of a transaction")
	}
	g.write(g.batch(true, []entrain.Event{remove(1)}))
	g.check("after the end of the transaction")
}

func sinkRollback(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), Null, Null))
	for range 2 {
		g.write(g.batch(false, []entrain.Event{remove(1), std(2, Null, filler(2, large), Null)}))
		g.write(g.batch(false, []entrain.Event{std(3, Null, Null, Null)}))
		g.close()
		if hidesOpen(h) {
			g.check("after Close in the middle of a transaction")
		}
		g.reopen()
		g.check("in the session after one that was closed in the middle of a transaction")
	}
	g.commit(remove(1), std(2, Null, Null, Null), std(3, Null, Null, Null))
	g.check("after redelivery of the transaction that was rolled back")
}

func sinkEmptyBatch(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Null, Null, Null))
	for range 2 {
		g.open.version += 1000
		g.write(g.batch(true))
		g.check("after an empty batch")
		g.close()
		g.reopen()
	}
	g.commit(remove(1))
	g.check("after a transaction that follows an empty batch")
}

func sinkPosition(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	for i := range int64(4) {
		g.close()
		g.reopen()
		g.commit(std(i, Null, Null, Null))
	}
	g.write(g.batch(true, []entrain.Event{remove(0)}, []entrain.Event{remove(1)}))
	g.close()
	g.reopen()
	g.check("after reopening")
}

// sinkFence has two sessions of one pipeline, as after a split brain.
func sinkFence(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Null, Null, Null))
	first := g.w
	g.reopen()
	second := g.w
	stale := g.open
	g.w = first
	if err := g.attempt(g.batch(true, []entrain.Event{std(2, Text("stale"), Null, Null)})); err == nil {
		t.Errorf("a session wrote although another one had taken the position over")
	}
	g.check("after a write of the session that was fenced off")
	g.w, g.open = second, stale
	g.commit(std(2, Text("right"), Null, Null))
	g.check("after a write of the session that took over")
}

// sinkMark has crashes between a durable write and the storing of its mark.
func sinkMark(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("a"), Null, Null))
	stored, mark := g.durable, g.mark
	stored.rows = stored.rows.Clone()
	for range 2 {
		g.commit(set(1, Text("b"), Null, Null), std(2, Null, Null, Null))
		g.commit(std(3, Null, Null, Null))
		g.close()
		g.durable, g.mark = stored, mark
		g.reopen()
		g.check("after restoring an older mark")
	}
	g.commit(std(2, Text("redelivered"), Null, Null))
	g.close()
	g.reopen()
	g.check("after redelivery and restoring its mark")
}

func sinkRedelivery(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	for i := range int64(6) {
		lost := []entrain.Event{std(10+i, Null, Null, Null), std(20+i, Text("lost"), Null, Null)}
		if i > 0 { // a session that ends before anything is durable has no mark to go back to
			lost = append(lost, remove(10+i-1))
			g.write(g.batch(false, lost[:1]))
			g.close()
			g.reopen()
		}
		g.commit(lost...)
		g.close()
		g.reopen()
		g.check("after redelivery of a transaction that was cut")
	}
}

func sinkMemory(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.write(g.batch(false, []entrain.Event{std(1, Text("first"), filler(1, large), Text("1"))}))
	g.write(g.batch(false, []entrain.Event{std(2, Text("second"), Text("small"), Text("2")), set(1, Text("changed"), Unchanged, Null)}))
	g.write(g.batch(true, []entrain.Event{std(3, Text("third"), filler(3, large), Text("3"))}))
	g.check("after the memory of all batches was overwritten")
}

func sinkUnknownOperation(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Null, Null, Null))
	strange := std(3, Null, Null, Null)
	strange.Op = 200
	b := g.batch(true, []entrain.Event{std(2, Null, Null, Null), strange})
	if err := g.attempt(b); err == nil {
		t.Errorf("an operation that does not exist was accepted")
	}
	if !undoesOpen(h) {
		return
	}
	g.close()
	g.reopen()
	g.check("after a batch that was refused")
	g.commit(std(2, Null, Null, Null))
	g.check("after a batch that follows one that was refused")
}

// sinkWriteEnded accepts a sink that is done before it looks at the context,
// but not one that fails and has an effect.
func sinkWriteEnded(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Null, Null, Null))
	g.write(g.batch(false, []entrain.Event{std(2, Null, Null, Null)}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := g.batch(true, []entrain.Event{remove(1)})
	g.expect(b)
	if err := g.attemptWith(ctx, b); err == nil {
		g.durable = g.open
		g.check("after a write that succeeded with a cancelled context")
		return
	}
	g.close()
	g.reopen()
	g.check("after a write that failed with a cancelled context")
	g.commit(std(2, Null, Null, Null), remove(1))
	g.check("after redelivery to a new session")
}

func sinkOpenEnded(t testing.TB, h SinkHarness) {
	sink := h.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w, err := sink.Open(ctx)
	if err == nil {
		w.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("open with a cancelled context: %v", err)
	}
}

// sinkOpenContext relies on reopen, whose context ends when it returns.
func sinkOpenContext(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	<-time.After(blockingTime)
	g.write(g.batch(false, []entrain.Event{std(1, Null, Null, Null)}))
	g.commit(std(2, Null, Null, Null))
	g.check("after the context of Open ended")
}

func sinkCloseTwice(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.close()
	g.close()
	if err := g.attempt(g.batch(true, []entrain.Event{std(1, Null, Null, Null)})); err == nil {
		t.Errorf("a closed session accepted a batch")
	}
	g.check("after a write to a closed session")
	g.reopen()
	g.commit(std(1, Null, Null, Null))
	g.close()
	g.close()
	g.check("after closing twice")
}

// sinkRandom writes a random history in random batches and looks at the rows
// after each.
func sinkRandom(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	w := workload{rnd: rand.New(rand.NewPCG(20, 7)), rows: Rows{}}
	for range 40 {
		var txs [][]entrain.Event
		for range 1 + w.rnd.IntN(6) {
			txs = append(txs, w.transaction())
		}
		first := txs[0]
		for len(first) > 1 && w.rnd.IntN(3) == 0 {
			g.write(g.batch(false, first[:1]))
			first = first[1:]
		}
		txs[0] = first
		g.write(g.batch(true, txs...))
		g.check("in the course of a random history")
	}
}
