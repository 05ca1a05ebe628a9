package apply

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// sideFeed is a feed whose sink applies side by side.
func sideFeed(t testing.TB, url string, c cut) *feed {
	t.Helper()
	f := &feed{t: t, url: url}
	f.openAside(c)
	return f
}

func (f *feed) openAside(c cut) entrain.Position {
	f.t.Helper()
	if f.w != nil {
		f.w.Close()
	}
	s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(f.url)), Pipeline: "test", Parallel: 4})
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := s.Open(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { w.Close() })
	f.w = w.(*writer)
	f.w.side.cut = c
	pos, err := f.w.Position(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return pos
}

// inserts makes n transactions of one order each, from id on.
func inserts(o *entrain.Table, id, n int) [][]entrain.Event {
	var work [][]entrain.Event
	for i := range n {
		work = append(work, tx(ins(o, strconv.Itoa(id+i), "x", strconv.Itoa(i))))
	}
	return work
}

// TestAsideDivides: a batch of transactions that do not depend on each other is
// applied by several sessions, in as many commits as groups.
func TestAsideDivides(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := sideFeed(t, url, worthwhile)
		f.write(inserts(o, 0, 1000)...)
		f.write(inserts(o, 1000, 1000)...)
		wantRows(t, url, `SELECT count(*), count(DISTINCT xmin::text) FROM orders`, "2000|16")
		wantRows(t, url, `SELECT position, ahead, version FROM entrain.position`, "2000||2000")
		if got := f.w.Counts()["inserted"]; got != 2000 {
			t.Errorf("%d inserts were counted", got)
		}
		var hot [][]entrain.Event
		for i := range 1000 {
			hot = append(hot, tx(upd(o, "7", "y", strconv.Itoa(i))))
		}
		f.write(hot...)
		wantRows(t, url, `SELECT n FROM orders WHERE id = 7`, "999")
		if f.w.side.pause != 0 {
			t.Error("sessions met in a batch that is one chain")
		}
	})
}

// TestAsideRandomHistories: as TestSinkRandomHistories, side by side wherever
// the plan allows it: rows with references and a unique column whose former
// values the log does not carry (P1, P3).
func TestAsideRandomHistories(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int4 PRIMARY KEY, u int4 UNIQUE); 
			CREATE TABLE c (id int4 PRIMARY KEY, p int4 REFERENCES p, v text)`)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		met, weight, depth := 0, 0, 0
		for seed := range uint64(10) {
			rnd := rand.New(rand.NewPCG(seed, 9))
			pgtest.Exec(t, url, `TRUNCATE p, c`)
			h := newHistoryOf(rnd, p, c)
			h.ids = 40 + 100*int(seed%3)
			work := h.draw(400)
			f := sideFeed(t, url, cut{batch: 2, group: 1 + rnd.IntN(4), chain: 1000})
			for len(work) > 0 {
				n := min(len(work), 1+rnd.IntN(60))
				f.write(work[:n]...)
				met += f.w.side.pause
				if f.w.catalog.graph != nil {
					var all transactions
					events := f.batch(work[:n]...).Events
					all.gather(f.w.catalog, events)
					weight += len(events)
					depth += all.plan(f.w.side.cut.group).Depth(0)
				}
				f.w.side.pause = 0
				work = work[n:]
			}
			f.w.Close()
			wantRows(t, url, `SELECT id, u FROM p ORDER BY id`, h.parents())
			wantRows(t, url, `SELECT id, coalesce(p::text, '-'), v FROM c ORDER BY id`, h.children())
			if f.w.Counts()["missing"] != 0 {
				t.Errorf("seed %d: rows were missing", seed)
			}
		}
		t.Logf("of %d events at least %d one after the other; batches to be applied in order after sessions had met: %d", weight, depth, met)
		if depth > weight*9/10 {
			t.Error("next to nothing was applied side by side")
		}
	})
}

// meetingSQL makes every order count in one row, which nobody foresees; the
// order whose n is 0 comes late to it.
var meetingSQL = []string{
	`CREATE TABLE counter (n int NOT NULL)`, `INSERT INTO counter VALUES (0)`,
	`CREATE FUNCTION count_order() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN IF NEW.n = 0 THEN PERFORM pg_sleep(0.5); END IF; UPDATE public.counter SET n = n + 1; RETURN NULL; END $$`,
	`CREATE TRIGGER count_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION count_order()`,
	`ALTER TABLE orders ENABLE ALWAYS TRIGGER count_order`,
}

// TestAsideMeets: a trigger that came while the sink runs makes rows conflict
// that have nothing in common: a later group holds the lock that an earlier one
// waits for, and waits for its commit, which no server sees. The later ones give
// way, and nothing is lost or doubled (P1, P2, P9).
func TestAsideMeets(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := sideFeed(t, url, worthwhile)
		f.write(inserts(o, 0, 1000)...)
		pgtest.Exec(t, url, meetingSQL...)
		f.write(inserts(o, 1000, 1000)...)
		wantRows(t, url, `SELECT count(*), (SELECT n FROM counter) FROM orders`, "2000|1000")
		wantRows(t, url, `SELECT position, version FROM entrain.position`, "2000|2000")
		if f.w.side.pause == 0 {
			t.Error("the batch behind one that met is applied side by side at once")
		}
		f.write(inserts(o, 2000, 1000)...)
		f.w.forgetTables() // as after a minute: from now on the trigger is known
		f.write(inserts(o, 3000, 1000)...)
		wantRows(t, url, `SELECT count(*), (SELECT n FROM counter), count(DISTINCT xmin::text) FILTER (WHERE id >= 3000) FROM orders`, "4000|3000|1")
	})
}

// TestAsideUnforeseen: what the target refuses of groups that came too early is
// taken in order: an index on an expression.
func TestAsideUnforeseen(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE UNIQUE INDEX ON orders ((n / 2))`)
		o := describe(t, url, "public", "orders")
		f := sideFeed(t, url, cut{batch: 2, group: 1, chain: 1000})
		f.w.side.every = time.Millisecond // a look that is under way at the end cuts nothing short
		var work [][]entrain.Event
		for i := range 200 {
			id := strconv.Itoa(i)
			work = append(work, tx(ins(o, id, "x", "4")), tx(del(o, id)))
		}
		work = append(work, tx(ins(o, "500", "x", "5")))
		for i := 0; i < len(work); i += 40 {
			f.write(work[i:min(i+40, len(work))]...)
			f.w.side.pause = 0
		}
		wantRows(t, url, `SELECT id, n FROM orders`, "500|5")
	})
}

// TestAsideStopsAndGoesOn: groups before a refused row stay; the next session,
// with as many sessions or one, and whatever the batches then are, leaves out
// what is there (P2).
func TestAsideStopsAndGoesOn(t *testing.T) {
	for _, way := range []string{"side by side", "one session", "small batches", "parts"} {
		t.Run(way, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) { stopAndGoOn(t, url, way) })
		})
	}
}

func stopAndGoOn(t *testing.T, url, way string) {
	pgtest.Exec(t, url, ordersSQL, `CREATE TABLE log (id int, n int)`)
	o, l := describe(t, url, "public", "orders"), keyless(describe(t, url, "public", "log"))
	f := sideFeed(t, url, worthwhile)
	f.write(inserts(o, 0, 1000)...)
	pgtest.Exec(t, url, `ALTER TABLE orders ADD CONSTRAINT small CHECK (id < 1900)`)
	work := inserts(o, 1000, 1000)
	for i := range 100 { // doubles of these would not be refused
		work[i] = append(work[i], ins(l, strconv.Itoa(i), "1"))
	}
	err := f.w.Write(t.Context(), f.batch(work...))
	if wantStop(t, err, "row_refused"); t.Failed() {
		return
	}
	there, _ := strconv.Atoi(rowsOf(t, url, `SELECT count(*) - 1000 FROM orders`))
	if there == 0 || there > 900 {
		t.Fatalf("%d rows of the batch are there; want those of the groups before the refused row", there)
	}
	wantRows(t, url, `SELECT position, version FROM entrain.position`, fmt.Sprintf("1000|%d", 1000+there))
	pgtest.Exec(t, url, `ALTER TABLE orders DROP CONSTRAINT small`)
	f.seq = 1000
	if way == "one session" {
		f.open()
	} else if at := f.openAside(worthwhile); at != position(1000) {
		t.Fatalf("position %s", at)
	}
	switch way {
	case "small batches":
		for i := 0; i < len(work); i += 30 {
			f.write(work[i:min(i+30, len(work))]...)
			f.openAside(worthwhile)
		}
	case "parts":
		for _, events := range work {
			f.seq++
			part := &entrain.Batch{Events: numbered(f.seq, 0, events)}
			if err := f.w.Write(t.Context(), part); err != nil {
				t.Fatal(err)
			}
			if err := f.w.Write(t.Context(), &entrain.Batch{Through: position(f.seq)}); err != nil {
				t.Fatal(err)
			}
		}
	default:
		f.write(work...)
	}
	wantRows(t, url, `SELECT count(*), (SELECT count(*) FROM log) FROM orders`, "2000|100")
	wantRows(t, url, `SELECT position, version FROM entrain.position`, "2000|2000")
}

// TestAsideIsVoidWhenSetBack: the note of what is ahead is about one position.
func TestAsideIsVoidWhenSetBack(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		f := sideFeed(t, url, worthwhile)
		f.write(inserts(o, 0, 1000)...)
		pgtest.Exec(t, url, `UPDATE entrain.position SET ahead = '{"Position":{"Incarnation":"i1","Offset":"1000"},"Incarnation":"i1","Version":1500}'`,
			`TRUNCATE orders`, `UPDATE entrain.position SET position = '0', version = 0`)
		f.seq = 0
		f.openAside(worthwhile)
		f.write(inserts(o, 0, 1000)...)
		wantRows(t, url, `SELECT count(*) FROM orders`, "1000")
	})
}

// TestAsideSessionsKilled: sessions of the sink are ended while they apply; what
// can be done anew is, else the next session goes on (P2, P9).
func TestAsideSessionsKilled(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL, `CREATE TABLE log (id int)`)
		o, l := describe(t, url, "public", "orders"), keyless(describe(t, url, "public", "log"))
		f := sideFeed(t, url, worthwhile)
		var work [][]entrain.Event
		for i, events := range inserts(o, 0, 40000) {
			if i%100 == 0 {
				events = append(events, ins(l, strconv.Itoa(i)))
			}
			work = append(work, events)
		}
		kill := fmt.Sprintf(`SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'entrain test sink%%' ORDER BY random() LIMIT 1) x`)
		quit, killed := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			tick := time.NewTicker(30 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					killed <- n
					return
				case <-tick.C:
					k, _ := strconv.Atoi(pgtest.QueryOne(t, url, kill))
					n += k
				}
			}
		}()
		const size = 1000
		for at := 0; at < len(work); {
			f.seq = uint64(at)
			if err := f.w.Write(t.Context(), f.batch(work[at:at+size]...)); err != nil {
				if !entrain.IsRetryable(err) {
					t.Fatal(err)
				}
				at, _ = strconv.Atoi(strings.TrimSpace(f.reopen().Offset))
				continue
			}
			f.w.side.pause = 0
			at += size
		}
		close(quit)
		n := <-killed
		wantRows(t, url, `SELECT count(*), (SELECT count(*) FROM log) FROM orders`, "40000|400")
		t.Logf("%d sessions were ended", n)
		if n < 5 {
			t.Errorf("only %d sessions were ended", n)
		}
	})
}

// reopen begins a new session, however often it is ended meanwhile.
func (f *feed) reopen() entrain.Position {
	f.t.Helper()
	for {
		f.w.Close()
		s, err := NewSink(Config{URL: connector.Secret(pgtest.TargetURL(f.url)), Pipeline: "test", Parallel: 4})
		if err != nil {
			f.t.Fatal(err)
		}
		w, err := s.Open(f.t.Context())
		if err == nil {
			f.w = w.(*writer)
			var at entrain.Position
			if at, err = f.w.Position(f.t.Context()); err == nil {
				return at
			}
		}
		if !entrain.IsRetryable(err) {
			f.t.Fatal(err)
		}
	}
}
