package apply

import (
	"fmt"
	"math/rand/v2"
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
