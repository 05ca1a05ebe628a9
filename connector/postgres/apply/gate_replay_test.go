package apply

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestGateReplays: random transactions with references, changes of keys, partial rows and
// truncates; between batches some that were applied come again, in their order or in
// any, and change nothing; sessions end in the middle of a transaction. What is left is
// what a twin has.
func TestGateReplays(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int4 PRIMARY KEY, u int4 UNIQUE);
			CREATE TABLE c (id int4 PRIMARY KEY, p int4 REFERENCES p, v text)`)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		for seed := range uint64(6) {
			pgtest.Exec(t, url, `TRUNCATE p, c; DROP SCHEMA IF EXISTS entrain CASCADE`)
			rnd := rand.New(rand.NewPCG(seed, 5))
			y := &replays{t: t, url: url, rnd: rnd, h: newHistoryOf(rnd, p, c), f: newGateFeed(t, url, Config{})}
			for range 12 {
				y.forward()
				y.again()
			}
			wantRows(t, url, `SELECT id, u FROM p ORDER BY id`, y.h.parents())
			wantRows(t, url, `SELECT id, coalesce(p::text, '-'), v FROM c ORDER BY id`, y.h.children())
			y.f.w.Close()
		}
	})
}

type replays struct {
	t    *testing.T
	url  string
	rnd  *rand.Rand
	h    *tableHistory
	f    *gateFeed
	work [][]entrain.Event // what was applied, by transaction
}

// forward applies some new transactions; sometimes the session ends before.
func (y *replays) forward() {
	var events []entrain.Event
	for range 1 + y.rnd.IntN(30) {
		transaction := y.h.draw(1)[0]
		if y.rnd.IntN(60) == 0 {
			transaction = tx(truncate(y.h.p, y.h.c))
			clear(y.h.parent)
			clear(y.h.child)
		}
		transaction = numbered(uint64(10*len(y.work)+10), 0, transaction)
		y.work = append(y.work, transaction)
		events = append(events, transaction...)
	}
	if len(events) == 0 {
		return
	}
	if y.rnd.IntN(3) == 0 {
		cut := 1 + y.rnd.IntN(len(events))
		if err := y.f.w.Write(y.t.Context(), &entrain.Batch{Events: events[:cut]}); err != nil {
			y.t.Fatal(err)
		}
		if y.rnd.IntN(2) == 0 {
			y.f.reopen() // nothing of it is there
			cut = 0
		}
		y.f.send(events[cut:]...)
		return
	}
	y.f.send(events...)
}

// again applies what was applied.
func (y *replays) again() {
	before := y.tables()
	from := y.rnd.IntN(len(y.work))
	work := append([][]entrain.Event(nil), y.work[from:from+1+y.rnd.IntN(len(y.work)-from)]...)
	if y.rnd.IntN(2) == 0 {
		y.rnd.Shuffle(len(work), func(i, k int) { work[i], work[k] = work[k], work[i] })
	}
	var events []entrain.Event
	for _, transaction := range work {
		events = append(events, transaction...)
	}
	for len(events) > 0 {
		n := 1 + y.rnd.IntN(len(events))
		if y.rnd.IntN(4) == 0 {
			y.f.resend(events[:n]...)
		} else {
			y.f.send(events[:n]...)
		}
		events = events[n:]
		if after := y.tables(); after != before {
			y.t.Fatalf("a replay changed rows:\n%s\nwere:\n%s", after, before)
		}
	}
}

func (y *replays) tables() string {
	return fmt.Sprint(rowsOf(y.t, y.url, `SELECT id, u FROM p ORDER BY id`), "\n--\n", rowsOf(y.t, y.url, `SELECT * FROM c ORDER BY id`))
}

// TestGateReplayIsNoReconciliation: of what is replayed by order, what is older than its
// row is as it should be, and is not queued; what may lack is. Neither counts as late.
func TestGateReplayIsNoReconciliation(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, gateSQL)
		g := describe(t, url, "public", "g")
		f := newGateFeed(t, url, Config{})
		work := []entrain.Event{at(10, 0, ins(g, "1", "a", "b")), at(10, 1, ins(g, "2", "a", "b")), at(11, 0, truncate(g)), at(12, 0, ins(g, "1", "a", "b")),
			at(13, 0, upd(g, "1", "c", "d")), at(14, 0, del(g, "1")), at(15, 0, ins(g, "3", "e", "f")), at(16, 0, upd(g, "3", "g", "~"))}
		f.send(work...)
		replay := func() {
			t.Helper()
			if err := f.w.Write(t.Context(), &entrain.Batch{Events: slices.Clone(work), Through: f.w.pos, Replay: true}); err != nil {
				t.Fatal(err)
			}
			wantRows(t, url, `SELECT id, a, b FROM g`, "3|g|f")
			wantQueue(t, url, "15.0 insert 3 partial 16.0")
			wantCounts(t, f.w, map[string]int64{"late": 0, "queued": 0, "requeued": 1})
		}
		replay()
		replay()                                 // what is in the queue is not put there again
		f.send(at(13, 0, upd(g, "1", "c", "d"))) // late without an order
		wantQueue(t, url, "13.0 update 1 stale 14.0\n15.0 insert 3 partial 16.0")
		wantCounts(t, f.w, map[string]int64{"late": 1, "queued": 1, "requeued": 1})
	})
}
