package entraintest

import (
	"testing"

	"github.com/entrainsync/entrain"
)

// standardDouble is the double of the standard table.
var standardDouble = newDouble()

func newDouble() *entrain.Table {
	t := *standard
	t.Shadow = true
	return &t
}

// settled marks events as changes of a table that is being copied.
func settled(events ...entrain.Event) []entrain.Event {
	for i := range events {
		events[i].Settling = true
	}
	return events
}

// doubled turns events into those of the double.
func doubled(events ...entrain.Event) []entrain.Event {
	for i := range events {
		if events[i].Table != nil {
			events[i].Table = standardDouble
		}
		if events[i].Op == entrain.OpInsert {
			events[i].Op = entrain.OpRead
		}
	}
	return events
}

func beginDouble() entrain.Event { return Truncate(standardDouble) }
func swapDouble() entrain.Event  { return entrain.Event{Op: entrain.OpReadEnd, Table: standardDouble} }

func sinkSettling(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	for i := range int64(6) {
		g.commit(std(i, Text("old"), filler(uint64(i), large), Text("1")))
	}
	g.commit(settled(std(1, Text("replaced"), Null, Null), std(10, Text("new"), Null, Null), std(10, Text("newer"), Text("x"), Null),
		set(90, Text("absent"), Unchanged, Unchanged), remove(91), set(2, Text("there"), Unchanged, Unchanged), remove(3))...)
	g.check("after inserts, updates and deletes of rows that are there or not")
	g.commit(settled(move(4, 40, Text("whole"), Null, Null), move(92, 93, Text("whole"), Null, Null), move(94, 95, Text("partial"), Unchanged, Null),
		move(40, 10, Text("both"), Null, Null), move(5, 2, Unchanged, Unchanged, Text("2")))...)
	g.check("after key changes of rows that are there or not")
	var many []entrain.Event
	for i := range int64(300) {
		many = append(many, std(i, Text("many"), Null, Null))
	}
	for i := range int64(300) {
		many = append(many, set(2*i, Text("even"), Unchanged, Unchanged), remove(3*i))
	}
	g.write(g.batch(false, settled(many...)))
	for i := range many[:300] {
		many[i] = std(int64(i), Text("read"), Null, Text("3"))
		many[i].Op = entrain.OpRead
	}
	g.write(g.batch(true, many[:300]))
	g.check("after a transaction of many changes")
}

func sinkDouble(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("old"), filler(1, large), Null), std(2, Text("old"), Null, Null), std(3, Text("old"), Null, Null))
	g.commit(beginDouble())
	g.check("after the start of a double")
	g.commit(doubled(std(2, Text("old"), Null, Null), std(3, Text("new"), filler(3, large), Null), std(4, Text("new"), Null, Text("4")))...)
	g.commit(std(9, Text("live"), Null, Null))
	g.check("after rows of the double and a change of the table")
	g.commit(doubled(set(4, Text("changed"), Unchanged, Unchanged), move(3, 30, Unchanged, Unchanged, Unchanged), remove(2))...)
	g.check("after changes of rows of the double")
	g.commit(swapDouble())
	g.check("after the end of the double")
	g.commit(remove(30), std(5, Null, Null, Null))
	g.check("after changes that follow the double")
}

func sinkDoubleAnew(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("old"), Null, Null))
	g.commit(append([]entrain.Event{beginDouble()}, doubled(std(1, Text("left"), Null, Null), std(2, Text("left"), Null, Null))...)...)
	var many []entrain.Event
	for i := range int64(200) {
		many = append(many, std(10+i, Text("new"), Null, Null))
	}
	g.write(g.batch(true, []entrain.Event{beginDouble()}, doubled(many...), []entrain.Event{swapDouble(), std(9, Text("after"), Null, Null)}))
	g.check("after a double that was begun anew")
	g.write(g.batch(true, []entrain.Event{beginDouble(), swapDouble()}))
	g.check("after a double without rows")
}

func sinkDoubleTransactions(t testing.TB, h SinkHarness) {
	g := newTarget(t, h)
	g.commit(std(1, Text("old"), Null, Null))
	g.commit(append([]entrain.Event{beginDouble()}, doubled(std(2, Text("new"), Null, Null))...)...)
	for range 2 {
		g.write(g.batch(false, append(doubled(std(3, Text("new"), Null, Null)), swapDouble())))
		if hidesOpen(h) {
			g.check("before the end of the transaction with the end of the double")
		}
		g.close()
		g.reopen()
		g.check("after a session that was closed before that end")
	}
	g.write(g.batch(true, append(doubled(std(3, Text("new"), Null, Null)), swapDouble())))
	g.check("after redelivery of the end of the double")
}
