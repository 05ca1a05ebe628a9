package capture

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/entrainsync/entrain"
)

func testAssembler(resume lsn) *assembler {
	wants := func(_, name string) bool { return name != "audit" }
	return newAssembler(&entrain.Stream{Source: "s", Incarnation: "1-1"}, place{resume, 1}, newRelations(wants))
}

// play passes messages and calls for batches to an assembler. A step is a wire
// message; "take", what the reader does when the network has nothing more;
// "fragment", what it does when the chunk is full; or a keepalive's WAL end.
func play(t *testing.T, a *assembler, steps ...any) []string {
	t.Helper()
	var got []string
	show := func(b *entrain.Batch) {
		if b == nil {
			got = append(got, "nothing")
			return
		}
		for i := range b.Events {
			got = append(got, showEvent(&b.Events[i]))
		}
		got = append(got, "= "+offsetOf(b))
		if b.Free != nil {
			b.Free()
		}
	}
	for _, step := range steps {
		switch step := step.(type) {
		case wire:
			if err := a.add(step); err != nil {
				got = append(got, "error: "+err.Error())
			}
		case int:
			a.keepalive(lsn(step))
		case string:
			show(takeFrom(a, step))
		}
	}
	return got
}

func takeFrom(a *assembler, how string) *entrain.Batch {
	b := a.ended()
	switch {
	case b == nil && how == "fragment":
		b = a.fragment()
	case b == nil && how == "idle":
		b = a.idle()
	}
	return b
}

func offsetOf(b *entrain.Batch) string {
	if b.Through.IsZero() {
		return "fragment"
	}
	return b.Through.Offset
}

type assembleCase struct {
	name   string
	resume lsn
	steps  []any
	want   []string
}

var assembleCases = []assembleCase{
	{name: "P4 whole transactions make one batch that ends at the last COMMIT's end",
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", nullCell), commitMsg(100, 108),
			beginMsg(200, 8), updateMsg(tOrders, "1", "b", ""), commitMsg(200, 208), "take", "take"},
		want: []string{`100.0 insert orders after(id="1" name="a" body=NULL)`,
			`200.0 update orders after(id="1" name="b" body="")`, "= 0/D0@1", "nothing"}},
	{name: "P4 an open transaction stays behind when a batch is handed out",
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), commitMsg(100, 108),
			beginMsg(200, 8), insertMsg(tOrders, "2", "b", "y"), "take", "take",
			insertMsg(tOrders, "3", "c", "z"), commitMsg(200, 208), "take"},
		want: []string{`100.0 insert orders after(id="1" name="a" body="x")`, "= 0/6C@1", "nothing",
			`200.0 insert orders after(id="2" name="b" body="y")`, `200.1 insert orders after(id="3" name="c" body="z")`, "= 0/D0@1"}},
	{name: "P4 a fragment has no position; the rest ends the transaction",
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), "fragment",
			deleteMsg(tOrders, 'K', "1", nullCell, nullCell), commitMsg(100, 108), "take"},
		want: []string{`100.0 insert orders after(id="1" name="a" body="x")`, "= fragment",
			`100.1 delete orders before(id="1")`, "= 0/6C@1"}},
	{name: "P4 an empty rest still delivers the end of the transaction",
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), "fragment", commitMsg(100, 108), "take", "take"},
		want:  []string{`100.0 insert orders after(id="1" name="a" body="x")`, "= fragment", "= 0/6C@1", "nothing"}},
	{name: "P2 a transaction is known if its commit record starts before the saved end, and only then", resume: 108,
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), commitMsg(100, 108),
			beginMsg(108, 8), insertMsg(tOrders, "2", "b", "y"), commitMsg(108, 116), "take"},
		want: []string{`108.0 insert orders after(id="2" name="b" body="y")`, "= 0/74@1"}},
	{name: "ordinals count what the server sent, before the filter",
		steps: []any{ordersRel(), auditRel(), beginMsg(100, 7), insertMsg(tAudit, "1"), insertMsg(tOrders, "1", "a", "x"),
			insertMsg(tAudit, "2"), logicalMsg(1, 90, "m"), commitMsg(100, 108), "take"},
		want: []string{`100.1 insert orders after(id="1" name="a" body="x")`, `100.3 message app "m" transactional=true`, "= 0/6C@1"}},
	{name: "a transaction of which nothing is wanted moves the position alone",
		steps: []any{auditRel(), beginMsg(100, 7), insertMsg(tAudit, "1"), commitMsg(100, 108), "take", "idle", "idle"},
		want:  []string{"nothing", "= 0/6C@1", "nothing"}},
	{name: "keepalives move the position in order, and not inside a transaction",
		steps: []any{ordersRel(), 50, "idle", beginMsg(100, 7), 400, "idle", insertMsg(tOrders, "1", "a", "x"), 500,
			commitMsg(100, 108), 120, "take", 90, "idle"},
		want: []string{"= 0/32@1", "nothing", `100.0 insert orders after(id="1" name="a" body="x")`, "= 0/78@1", "nothing"}},
	{name: "a message outside transactions is one of its own", resume: 40,
		steps: []any{logicalMsg(0, 40, "known"), logicalMsg(0, 48, "new"), ordersRel(), beginMsg(100, 7),
			insertMsg(tOrders, "1", "a", "x"), commitMsg(100, 108), "take"},
		want: []string{`47.0 message app "new" transactional=false`,
			`100.0 insert orders after(id="1" name="a" body="x")`, "= 0/6C@1"}},
	{name: "truncate is one event that names the wanted tables",
		steps: []any{ordersRel(), auditRel(), fullRel(), beginMsg(100, 7), truncateMsg(3, tOrders, tAudit, tFull),
			truncateMsg(0, tAudit), truncateMsg(0, tFull), commitMsg(100, 108), "take"},
		want: []string{"100.0 truncate public.orders public.full cascade=true restart=true",
			"100.2 truncate public.full cascade=false restart=false", "= 0/6C@1"}},
	{name: "each row has the shape that the log described last",
		steps: []any{ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"),
			relMsg(tOrders, "orders", 'd', wireCol{"*id", 23}, wireCol{"extra", 25}), insertMsg(tOrders, "2", "e"),
			ordersRel(), insertMsg(tOrders, "3", "c", "z"), commitMsg(100, 108), "take"},
		want: []string{`100.0 insert orders after(id="1" name="a" body="x")`, `100.1 insert orders after(id="2" extra="e")`,
			`100.2 insert orders after(id="3" name="c" body="z")`, "= 0/6C@1"}},
	{name: "unchanged values stay unchanged under DEFAULT and come from the old row under FULL, if it knows them",
		steps: []any{ordersRel(), fullRel(), beginMsg(100, 7), updateMsg(tOrders, "1", "a", sameCell),
			wire{'U'}.u32(tFull).tuple('O', "1", "a", "toast").tuple('N', "1", "b", sameCell),
			wire{'U'}.u32(tFull).tuple('O', "1", "a", nullCell).tuple('N', "1", "b", sameCell), commitMsg(100, 108), "take"},
		want: []string{`100.0 update orders after(id="1" name="a")`,
			`100.1 update full before(id="1" name="a" body="toast") after(id="1" name="b" body="toast")`,
			`100.2 update full before(id="1" name="a" body=NULL) after(id="1" name="b")`, "= 0/6C@1"}},
	{name: "of a key tuple only the key counts",
		steps: []any{ordersRel(), beginMsg(100, 7), wire{'U'}.u32(tOrders).tuple('K', "1", nullCell, nullCell).tuple('N', "2", "a", sameCell),
			deleteMsg(tOrders, 'K', "2", nullCell, nullCell), commitMsg(100, 108), "take"},
		want: []string{`100.0 update orders before(id="1") after(id="2" name="a")`, `100.1 delete orders before(id="2")`, "= 0/6C@1"}},
}

func TestAssemble(t *testing.T) {
	for _, c := range assembleCases {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, play(t, testAssembler(c.resume), c.steps...)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAssembleRefuses: what the protocol does not allow is an error that names
// where it stands, never a guess (P1).
func TestAssembleRefuses(t *testing.T) {
	open := []any{ordersRel(), beginMsg(100, 7)}
	cases := []struct {
		name string
		pre  []any
		bad  wire
		want string
	}{
		{"nested begin", open, beginMsg(200, 8), "BEGIN inside"},
		{"commit outside", nil, commitMsg(100, 108), "COMMIT outside"},
		{"foreign commit", open, commitMsg(101, 108), "does not belong"},
		{"row outside", []any{ordersRel()}, insertMsg(tOrders, "1", "a", "x"), "outside a transaction"},
		{"unknown relation", open, insertMsg(99, "1"), "relation 99"},
		{"row too short", open, insertMsg(tOrders, "1"), "3 columns"},
		{"old row too long", open, deleteMsg(tOrders, 'K', "1", "2", "3", "4"), "3 columns"},
		{"truncate outside", []any{ordersRel()}, truncateMsg(0, tOrders), "outside a transaction"},
		{"truncate of unknown", open, truncateMsg(0, 99), "relation 99"},
		{"message outside", nil, logicalMsg(1, 50, "m"), "outside a transaction"},
		{"message inside", open, logicalMsg(0, 50, "m"), "inside one"},
		{"garbage", open, wire{'?'}, "unknown message"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := testAssembler(0)
			play(t, a, c.pre...)
			err := a.add(c.bad)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
			if where := "commit at 0/64"; a.tx != nil && !strings.Contains(err.Error(), where) {
				t.Errorf("error %q does not say %q", err, where)
			}
		})
	}
}

// TestAssembleOrigin: the transaction carries where the change came from.
func TestAssembleOrigin(t *testing.T) {
	a := testAssembler(0)
	play(t, a, ordersRel(), beginMsg(100, 7), originMsg("node_b"), insertMsg(tOrders, "1", "a", "x"), commitMsg(100, 108))
	b := a.ended()
	if got := b.Events[0].Tx.Origin; got != "node_b" {
		t.Errorf("origin %q, want node_b", got)
	}
}

// TestAssembleTypes: types outside the system catalog get the name that the
// log gave them, known ones their own, and a shape that comes again is the
// same value.
func TestAssembleTypes(t *testing.T) {
	a := testAssembler(0)
	rel := relMsg(tOrders, "orders", 'd', wireCol{"*id", 20}, wireCol{"mood", 90001}, wireCol{"sys", 90002}, wireCol{"odd", 90003})
	insert := insertMsg(tOrders, "1", "a", "b", "c")
	play(t, a, typeMsg(90001, "shop", "mood"), typeMsg(90002, "", "text"), rel, beginMsg(100, 7), insert, rel, insert, commitMsg(100, 108))
	b := a.ended()
	var types []string
	for _, c := range b.Events[0].Table.Columns {
		types = append(types, c.Type)
	}
	if want := []string{"int8", "shop.mood", "text", "oid:90003"}; !slices.Equal(types, want) {
		t.Errorf("types %q, want %q", types, want)
	}
	if b.Events[0].Table != b.Events[1].Table {
		t.Error("an equal shape is another value")
	}
}

// TestAssembleDueAtTheEndOfAFragmentedTransaction: P4. A transaction that came in fragments
// gets its position before anything of the next one, wanted or not.
func TestAssembleDueAtTheEndOfAFragmentedTransaction(t *testing.T) {
	a := testAssembler(0)
	play(t, a, ordersRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), "fragment")
	if a.full() {
		t.Error("due with the transaction still open")
	}
	play(t, a, commitMsg(100, 108))
	if !a.full() {
		t.Error("not due at the end of the transaction")
	}
	if b := a.ended(); b == nil || b.Through.Offset != "0/6C@1" {
		t.Errorf("got %+v, want the position alone", b)
	}
}

// TestAssembleCarriesNoForeignBytes: a large message that was handed out does
// not count for the transaction behind it, which would become an empty
// fragment.
func TestAssembleCarriesNoForeignBytes(t *testing.T) {
	a := testAssembler(0)
	play(t, a, ordersRel(), beginMsg(100, 7), logicalMsg(1, 90, strings.Repeat("m", 2*chunkBytes)), commitMsg(100, 108),
		beginMsg(200, 8), logicalMsg(1, 190, strings.Repeat("s", 1000)), "take")
	if size := a.cur.size(); size < 1000 || size > 4096 {
		t.Errorf("the open transaction counts %d bytes", size)
	}
	if a.full() {
		t.Error("the open transaction counts as a batch's worth")
	}
}

// TestAssembleCounts: P1. What came is what was captured, filtered and skipped.
func TestAssembleCounts(t *testing.T) {
	a := testAssembler(108)
	play(t, a, ordersRel(), auditRel(), beginMsg(100, 7), insertMsg(tOrders, "1", "a", "x"), commitMsg(100, 108),
		beginMsg(200, 8), insertMsg(tOrders, "1", "a", "x"), insertMsg(tAudit, "1"), insertMsg(tOrders, "2", "a", "x"), commitMsg(200, 208))
	c := &a.counts
	got := fmt.Sprintf("captured %d filtered %d skipped %d transactions %d",
		c.captured.Load(), c.filtered.Load(), c.skipped.Load(), c.transactions.Load())
	if want := "captured 2 filtered 1 skipped 1 transactions 1"; got != want {
		t.Errorf("counts: %s, want %s", got, want)
	}
}

// TestAssembleAllocations: decoding allocates per batch, not per row (P6).
func TestAssembleAllocations(t *testing.T) {
	a := testAssembler(0)
	play(t, a, ordersRel())
	const rows = 500
	begins, commits := make([]wire, rows), make([]wire, rows)
	for i := range rows {
		at := uint64(i+1) * 16
		begins[i], commits[i] = beginMsg(at, uint32(i)), commitMsg(at, at+8)
	}
	row := wire{'U'}.u32(tOrders).tuple('K', "1", nullCell, nullCell).tuple('N', "2", "name", sameCell)
	batch := func() {
		for i := range rows {
			for _, msg := range []wire{begins[i], row, commits[i]} {
				if err := a.add(msg); err != nil {
					t.Fatal(err)
				}
			}
		}
		a.ended().Free()
	}
	for range 5 {
		batch() // grows the pooled memory
	}
	if got := testing.AllocsPerRun(20, batch); got > 10 {
		t.Errorf("%v allocations for a batch of %d one-row transactions", got, rows)
	}
}
