package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

const loadSessionsSQL = `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'entrain test load'`

// TestLoadPartsAtOnce: parts come by several goroutines, and Close leaves no
// session behind.
func TestLoadPartsAtOnce(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		l := lt.load(o)
		var wg sync.WaitGroup
		errs := make([]error, 6)
		for i := range errs {
			wg.Go(func() {
				for j := range 5 {
					r := &rowBatches{table: o, rows: [][]string{{fmt.Sprint(i*10 + j), "a", "1"}}}
					_, err := l.Part(t.Context(), r)
					errs[i] = errors.Join(errs[i], err)
				}
			})
		}
		wg.Wait()
		mustLoad(t, errors.Join(errs...))
		lt.finish(l)
		wantRows(t, url, `SELECT count(*) FROM orders`, "30")
		pgtest.Eventually(t, time.Minute, "the sessions are gone", func() bool { return rowsOf(t, url, loadSessionsSQL) == "0" })
	})
}

// endless delivers rows until its context ends.
type endless struct {
	table *entrain.Table
	began func()
}

func (r *endless) Read(ctx context.Context) (*entrain.Batch, error) {
	r.began()
	<-ctx.Done()
	return nil, ctx.Err()
}
func (r *endless) Close() error { return nil }

type endlessText struct{ endless }

func (r *endlessText) CopyText(ctx context.Context, w io.Writer) (int64, error) {
	for {
		if _, err := io.WriteString(w, "1\ta\t1\n"); err != nil {
			return 0, err
		}
		r.began()
	}
}

// TestLoadPartCancelled: a part that is called off, or whose session is ended,
// ends and has no effect, and the load goes on.
func TestLoadPartCancelled(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		l := lt.load(o)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := l.Part(ctx, &endless{table: o, began: cancel})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		if _, err = l.Part(ctx, &endlessText{endless{table: o, began: cancel}}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		var once sync.Once
		end := func() {
			once.Do(func() {
				pgtest.Exec(t, url, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'entrain test load'`)
			})
		}
		for _, r := range []entrain.RowReader{&endless{table: o, began: end}, &endlessText{endless{table: o, began: end}}} {
			once = sync.Once{}
			if _, err = l.Part(t.Context(), r); !entrain.IsRetryable(err) {
				t.Errorf("got %v", err)
			}
		}
		lt.part(l, o, []string{"1", "a", "1"})
		lt.finish(l)
		wantRows(t, url, `SELECT count(*) FROM orders`, "1")
	})
}

// TestLoadOddValues: what has no binary form goes in text, in the middle of a
// part.
func TestLoadOddValues(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		lt := newLoadTest(t, url)
		l := lt.load(o)
		lt.part(l, o, []string{"1", "a", "1"}, []string{"2", "b", "2"}, []string{"3", "c", " 3"}, []string{"4", "d", "4"}, []string{"5", "e", "5"})
		lt.finish(l)
		wantRows(t, url, `SELECT string_agg(id || note || n, ',' ORDER BY id) FROM orders`, "1a1,2b2,3c3,4d4,5e5")
	})
}

// TestLoadRefusesOtherRows: a reader that delivers anything but whole rows of the
// table is refused.
func TestLoadRefusesOtherRows(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, ordersSQL)
		o := describe(t, url, "public", "orders")
		other := *o
		other.Name, other.Version = "other", o.Version+1
		lt := newLoadTest(t, url)
		l := lt.load(o)
		for _, events := range [][]entrain.Event{
			{ins(o, "1", "a", "1")}, {readRow(&other, "1", "a", "1")}, {readRow(o, "1", "~", "1")},
		} {
			if _, err := l.Part(t.Context(), &oneBatch{&entrain.Batch{Events: numbered(7, 0, events)}}); err == nil {
				t.Errorf("%s is taken", events[0].Op)
			}
		}
		wantRows(t, url, `SELECT count(*) FROM orders`, "0")
	})
}

type oneBatch struct{ batch *entrain.Batch }

func (r *oneBatch) Read(context.Context) (*entrain.Batch, error) { return r.batch, nil }
func (r *oneBatch) Close() error                                 { return nil }

// TestLoadChoosesItsWay: what is checked or fires in our role decides, and names
// are quoted everywhere.
func TestLoadChoosesItsWay(t *testing.T) {
	for name, c := range map[string]struct{ sql, mode string }{
		"plain":            {``, "direct"},
		"reference":        {`ALTER TABLE "o d""d"."ta ble" ADD FOREIGN KEY (n) REFERENCES kin`, "staging"},
		"disabled":         {`ALTER TABLE "o d""d"."ta ble" ADD FOREIGN KEY (n) REFERENCES kin; ALTER TABLE "o d""d"."ta ble" DISABLE TRIGGER ALL`, "direct"},
		"referred to":      {`CREATE TABLE child (n int8 REFERENCES "o d""d"."ta ble")`, "direct"},
		"rule":             {`CREATE RULE r AS ON UPDATE TO "o d""d"."ta ble" DO ALSO NOTHING`, "staging"},
		"rows":             {`INSERT INTO "o d""d"."ta ble" VALUES (1, 'theirs', NULL)`, "staging"},
		"deferred":         {`ALTER TABLE "o d""d"."ta ble" ADD FOREIGN KEY (n) REFERENCES kin DEFERRABLE INITIALLY DEFERRED`, "staging"},
		"inherited by one": {`CREATE TABLE heir () INHERITS ("o d""d"."ta ble"); INSERT INTO heir VALUES (5)`, "direct"},
	} {
		t.Run(name, func(t *testing.T) {
			onMajors(t, func(t *testing.T, url string) {
				pgtest.Exec(t, url, `CREATE SCHEMA "o d""d"; CREATE TABLE kin (id int8 PRIMARY KEY);
					CREATE TABLE "o d""d"."ta ble" (id int8 PRIMARY KEY, "co l""umn" text, n int8)`, c.sql)
				odd := describe(t, url, `o d"d`, "ta ble")
				lt := newLoadTest(t, url)
				l := lt.load(odd)
				if got := lt.mode("ta ble"); got != c.mode {
					t.Errorf("mode %q, want %q", got, c.mode)
				}
				lt.part(l, odd, []string{"1", "ours", "∅"})
				if name == "rule" {
					return // INSERT ON CONFLICT and rules exclude each other, in streaming too
				}
				lt.finish(l)
				mustLoad(t, lt.complete(snapshotOf(odd)))
				wantRows(t, url, `SELECT "co l""umn" FROM ONLY "o d""d"."ta ble"`, "ours")
			})
		})
	}
}

// TestLoadPartitionedReferences: references of and to partitioned tables count as
// those of the whole tables.
func TestLoadPartitionedReferences(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, `CREATE TABLE p (id int8 PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p DEFAULT;
			CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES p) PARTITION BY RANGE (id); CREATE TABLE c1 PARTITION OF c DEFAULT;
			INSERT INTO p VALUES (9)`)
		p, c := describe(t, url, "public", "p"), describe(t, url, "public", "c")
		lt := newLoadTest(t, url)
		for _, table := range []*entrain.Table{c, p} {
			l := lt.load(table)
			if table == c {
				lt.part(l, c, []string{"1", "1"})
			} else {
				lt.part(l, p, []string{"1"})
			}
			lt.finish(l)
		}
		if got := lt.mode("c") + lt.mode("p"); got != "stagedmerged" {
			t.Errorf("modes %q", got)
		}
		mustLoad(t, lt.complete(snapshotOf(p), snapshotOf(c)))
		wantRows(t, url, `SELECT c.id FROM c JOIN p ON p.id = c.p`, "1")
	})
}

// TestLoadOlderStage: a stage that was filled before the table got a column.
func TestLoadOlderStage(t *testing.T) {
	onMajors(t, func(t *testing.T, url string) {
		pgtest.Exec(t, url, familySQL)
		k := describe(t, url, "public", "kids")
		lt := newLoadTest(t, url)
		l := lt.load(k)
		lt.part(l, k, []string{"1", "1"})
		lt.finish(l)
		pgtest.Exec(t, url, `INSERT INTO parents VALUES (1); ALTER TABLE kids ADD COLUMN late text DEFAULT 'late'`)
		mustLoad(t, lt.complete(snapshotOf(describe(t, url, "public", "kids"))))
		wantRows(t, url, `SELECT * FROM kids`, "1|1|late")
	})
}
