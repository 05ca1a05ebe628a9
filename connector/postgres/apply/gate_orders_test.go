package apply

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestGateAllOrders: changes of a row in every order that up to six of them can have,
// each row its own, leave what the order of the source leaves, if they carry whole rows;
// the queue has exactly those that came behind a newer one. If they do not carry whole
// rows, either that is so, or the queue says of a change that its columns may lack.
func TestGateAllOrders(t *testing.T) {
	for _, soft := range []string{"", "gone_at", "gone"} {
		t.Run("soft="+soft, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, softSQL)
				o := &orders{t: t, url: url, table: withoutMarks(describe(t, url, "public", "g")), soft: soft != "", f: newGateFeed(t, url, Config{SoftDelete: SoftDelete{Column: soft}})}
				for seed := range uint64(12) {
					o.kinds = 3 + int(seed)%2 // without and with changes that leave columns out
					o.add(rand.New(rand.NewPCG(seed, 4)), 1+int(seed)/2)
				}
				o.run()
				o.judge()
			})
		})
	}
}

// TestGateOrdersInTurn: the same when the rows come one after the other, so that most
// changes are above the mark, in batches that are cut anywhere.
func TestGateOrdersInTurn(t *testing.T) {
	for _, soft := range []string{"", "gone_at", "gone"} {
		t.Run("soft="+soft, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, softSQL)
				rnd := rand.New(rand.NewPCG(3, 1))
				o := &orders{t: t, url: url, table: withoutMarks(describe(t, url, "public", "g")), soft: soft != "", kinds: 4,
					f: newGateFeed(t, url, Config{SoftDelete: SoftDelete{Column: soft}})}
				for n := range 12 {
					o.add(rnd, n/2+1-n/10*2) // up to five changes
				}
				var events []entrain.Event
				for i, r := range o.rows {
					r.base = uint64(i * 100)
					for _, i := range r.order {
						events = append(events, r.event(o.table, i))
					}
				}
				for len(events) > 0 {
					n := min(len(events), 1+rnd.IntN([]int{1, 4, 40}[rnd.IntN(3)]))
					o.f.send(events[:n]...)
					events = events[n:]
				}
				o.judge()
			})
		})
	}
}

// softSQL makes a table with marks of both forms, which withoutMarks takes from what the
// source has.
const softSQL = `CREATE TABLE g (id int4 PRIMARY KEY, a text, b text, gone_at timestamptz, gone bool NOT NULL DEFAULT false)`

func withoutMarks(g *entrain.Table) *entrain.Table {
	g.Columns = g.Columns[:3]
	g.Version = g.Fingerprint()
	return g
}

// markedRowsSQL are the rows of softSQL's table; those that are marked begin with †.
const markedRowsSQL = `SELECT id::text, CASE WHEN gone OR gone_at IS NOT NULL THEN '†' ELSE '' END || a || '/' || b FROM g ORDER BY id`

// orders are rows, each of which gets the changes of a history in an order of its own.
type orders struct {
	t     *testing.T
	url   string
	table *entrain.Table
	f     *gateFeed
	soft  bool // deleted rows are marked, and stay
	kinds int  // of changes of a row that is there: 4 with those that leave columns out
	rows  []*ordered
}

// ordered is one row.
type ordered struct {
	key     string
	soft    bool         // as of orders
	base    uint64       // of the versions
	history []cellChange // in the source's order
	order   []int
}

// cellChange is a change: a delete, or what a and b become; "~" is unchanged.
type cellChange struct {
	version, ordinal uint64
	op               entrain.Op
	a, b             string
}

// add makes a history of n changes, and a row for each of its orders.
func (o *orders) add(rnd *rand.Rand, n int) {
	var history []cellChange
	exists, version, ordinal := false, uint64(10), uint64(0)
	for i := range n {
		if rnd.IntN(3) > 0 {
			version, ordinal = version+1, 0 // else one more change of the same transaction
		}
		c := cellChange{version, ordinal, entrain.OpInsert, "a" + strconv.Itoa(i), "b" + strconv.Itoa(i)}
		ordinal++
		switch kind := rnd.IntN(o.kinds); {
		case !exists:
			exists = true
		case kind == 0:
			c.op, exists = entrain.OpDelete, false
		case kind == 3:
			c.op, c.b = entrain.OpUpdate, "~"
		default:
			c.op = entrain.OpUpdate
		}
		history = append(history, c)
	}
	for _, order := range permutations(n) {
		o.rows = append(o.rows, &ordered{key: strconv.Itoa(len(o.rows)), soft: o.soft, history: history, order: order})
	}
}

func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

func (r *ordered) event(table *entrain.Table, i int) entrain.Event {
	c := r.history[i]
	e := upd(table, r.key, c.a, c.b)
	switch c.op {
	case entrain.OpInsert:
		e = ins(table, r.key, c.a, c.b)
	case entrain.OpDelete:
		e = del(table, r.key)
	}
	return at(r.base+c.version, c.ordinal, e)
}

// run sends the first change of every row, then the second, and so on, in batches.
func (o *orders) run() {
	for i := range 6 {
		var events []entrain.Event
		for _, r := range o.rows {
			if i < len(r.order) {
				events = append(events, r.event(o.table, r.order[i]))
			}
		}
		for len(events) > 0 {
			n := min(len(events), 500)
			o.f.send(events[:n]...)
			events = events[n:]
		}
	}
}

// judge compares the rows and the queue with what is expected.
func (o *orders) judge() {
	got, queues := map[string]string{}, map[string]string{}
	for _, r := range pgtest.Query(o.t, o.url, markedRowsSQL) {
		got[r[0]] = r[1]
	}
	for _, r := range pgtest.Query(o.t, o.url, `SELECT key, string_agg(version || '.' || ordinal || ' ' || reason, ', ' ORDER BY version, ordinal)
		FROM entrain.reconciliation GROUP BY 1`) {
		queues[r[0]] = r[1]
	}
	partial := 0
	for _, r := range o.rows {
		want, queue := r.expected()
		if got[r.key] != want || queues[r.key] != queue {
			o.t.Fatalf("changes %+v in the order %v: row %q, want %q; queue %q, want %q", r.history, r.order, got[r.key], want, queues[r.key], queue)
		}
		if strings.Contains(queue, "partial") || strings.Contains(queue, "missing") {
			partial++
			continue
		}
		if truth := fold(r.history); live(want) != truth {
			o.t.Fatalf("changes %+v in the order %v: row %q, the source's is %q, and the queue is %q", r.history, r.order, want, truth, queue)
		}
	}
	if partial == 0 || partial == len(o.rows) {
		o.t.Errorf("%d of %d orders lack something: not tested", partial, len(o.rows))
	}
	o.t.Logf("%d orders, %d of which lack something and say so", len(o.rows), partial)
	if maps.Equal(got, map[string]string{}) {
		o.t.Error("no row is left")
	}
}

// fold is the row that changes leave in their order; "" for none.
func fold(changes []cellChange) string { return live(foldSoftly(changes)) }

// foldSoftly is the same where deletes mark: a deleted row has the values that it had.
func foldSoftly(changes []cellChange) string {
	a, b, there, mark := "", "", false, ""
	for _, c := range changes {
		switch {
		case c.op == entrain.OpDelete:
			mark = "†"
		case c.b == "~":
			a = c.a
		default:
			a, b, there, mark = c.a, c.b, true, ""
		}
	}
	if !there {
		return ""
	}
	return mark + a + "/" + b
}

// live is a row, or "" if it is marked.
func live(row string) string {
	if strings.HasPrefix(row, "†") {
		return ""
	}
	return row
}

// expected is the row that is left, and the queue, by a model of the gate: what is
// newer than the row passes, unless the row lacks and would not be whole. A marked row
// has the values that it had when it was deleted.
func (r *ordered) expected() (row, queue string) {
	newest, reason := -1, map[int]string{}
	var applied []cellChange
	for _, i := range r.order {
		c := r.history[i]
		switch {
		case i < newest && r.history[newest].b == "~":
			reason[i] = "partial"
		case i < newest:
			reason[i] = "stale"
		case c.b == "~" && fold(applied) == "":
			reason[i] = "missing"
		default:
			newest = i
			applied = append(applied, c)
		}
	}
	var lines []string
	for i, c := range r.history {
		if reason[i] != "" {
			lines = append(lines, fmt.Sprintf("%d.%d %s", r.base+c.version, c.ordinal, reason[i]))
		}
	}
	if r.soft {
		return foldSoftly(applied), strings.Join(lines, ", ")
	}
	return fold(applied), strings.Join(lines, ", ")
}
