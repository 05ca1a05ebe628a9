package campaign

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// planted are faults in the data of a target, and the checkers that must
// report each; others may, too.
var planted = []struct {
	name, sql string
	caughtBy  []string
}{
	{"a row is lost", "DELETE FROM chain WHERE id = (SELECT min(id) FROM chain)", []string{"rows", "chain", "counts"}},
	{"a row too many", "INSERT INTO bulk VALUES (-1, 'x', 0)", []string{"rows", "counts"}},
	{"a change of a keyless table came twice", "INSERT INTO chain_log SELECT * FROM chain_log LIMIT 1", []string{"rows", "chain", "log", "counts"}},
	{"a change of a keyless table is lost", "DELETE FROM chain_log WHERE (id, n) = (SELECT id, max(n) FROM chain_log GROUP BY id LIMIT 1)", []string{"rows", "chain", "log"}},
	{"a counted change came twice", `INSERT INTO applied (tbl, op, change_id) SELECT tbl, op, change_id FROM applied ORDER BY seq LIMIT 1;
UPDATE applied_count SET n = n + 1 WHERE slot = 1`, []string{"applied"}},
	{"a counted change is lost", `DELETE FROM applied WHERE seq = (SELECT min(seq) FROM applied); UPDATE applied_count SET n = n - 1 WHERE slot = 1`, []string{"applied"}},
	{"two counted changes are swapped", `WITH two AS (SELECT seq, tbl, op, change_id, row_number() OVER (ORDER BY seq) AS i FROM applied ORDER BY seq LIMIT 2)
UPDATE applied a SET tbl = o.tbl, op = o.op, change_id = o.change_id FROM two t JOIN two o ON o.i = 3 - t.i WHERE a.seq = t.seq`, []string{"applied"}},
	{"the counter has its own mind", "UPDATE applied_count SET n = n + 1 WHERE slot = 5", []string{"applied"}},
	{"a column is stale", "UPDATE chain SET payload = 'older', h = sha256(h) WHERE id = (SELECT min(id) FROM chain)", []string{"rows", "chain"}},
	{"a large column was taken for NULL", "UPDATE chain SET big = NULL WHERE id = (SELECT max(id) FROM chain)", []string{"rows"}},
	{"an update came twice", "UPDATE step SET n = n WHERE id = 1", []string{"step", "applied"}},
	{"an update of a key was skipped", "UPDATE step SET n = n + 2, h = sha256(h), payload = 'x' WHERE id = 1", []string{"rows", "step", "applied"}},
	{"a transfer is half there", "UPDATE account_2 SET balance = balance + 1 WHERE id = 1", []string{"rows", "ledger"}},
	{"a transfer is gone", "DELETE FROM journal WHERE txno = (SELECT max(txno) - 1 FROM journal)", []string{"rows", "ledger", "counts"}},
	{"a key change lost its row", "DELETE FROM moved WHERE id = (SELECT max(id) FROM moved)", []string{"rows", "counts"}},
	{"a truncate was skipped", "INSERT INTO scratch VALUES (-1, 'old')", []string{"rows"}},
}

// Every checker reports the faults that it is there for, and none where there
// is none: a checker that never failed proves nothing.
func TestCheckersCatchPlantedFaults(t *testing.T) {
	srv := pgtest.Start(t, someMajor(t), map[string]string{"max_connections": "60"})
	s := newSite(t, srv, srv)
	h := quietCampaign(t, s)
	db := s.target[strings.LastIndexByte(s.target, '/')+1:]
	proven := map[string]bool{}
	for i, p := range planted {
		clone := fmt.Sprintf("planted_%d", i)
		pgtest.Exec(t, srv.URL("postgres"), fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", clone, db))
		spoiled := s
		spoiled.target = srv.URL(clone)
		pgtest.Exec(t, spoiled.target, p.sql)
		found, err := verdict(t.Context(), spoiled, h)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for _, name := range p.caughtBy {
			proven[name] = true
			if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, name+": ") }) {
				t.Errorf("%s: checker %s is silent; found %q", p.name, name, found)
			}
		}
	}
	for _, c := range checkers() {
		if !proven[c.name] {
			t.Errorf("checker %s was never shown to report anything", c.name)
		}
	}
}

// quietCampaign runs a short load through the binary, without faults, and
// checks that nothing is reported.
func quietCampaign(t *testing.T, s site) *history {
	t.Helper()
	f := writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))
	p := launch(t, "run", f.path)
	f.until(t, "streaming", streaming)
	l := &load{url: s.source, seed: 2, writes: 2, pace: 5 * time.Millisecond, bulk: 300 * time.Millisecond, rows: 500}
	l.start(t)
	wait(t.Context(), 2*window)
	l.stop()
	if err := s.settle(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	p.kill()
	waitForSinkToLeave(t, s)
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	found, err := verdict(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) > 0 {
		t.Fatalf("without any fault: %q", found)
	}
	return h
}

// waitForSinkToLeave waits until no session of ours is in the target database.
func waitForSinkToLeave(t *testing.T, s site) {
	t.Helper()
	pgtest.Eventually(t, patience, "no sessions are left at the target", func() bool {
		return len(leftSessions(t.Context(), s.target)) == 0
	})
}

// The comparison of orders tells the kinds of difference apart.
func TestCompareOrder(t *testing.T) {
	c := func(ids ...int64) (all []change) {
		for _, id := range ids {
			all = append(all, change{"t", "INSERT", id})
		}
		return all
	}
	want := c(1, 2, 3, 4, 5)
	for _, tt := range []struct {
		got  []change
		want tally
	}{
		{c(1, 2, 3, 4, 5), tally{}},
		{c(1, 2, 4, 5), tally{lost: 1}},
		{c(1, 2, 3, 3, 4, 5), tally{duplicated: 1}},
		{c(1, 3, 2, 4, 5), tally{reordered: 1}},
		{c(1, 2, 3, 4, 5, 6), tally{invented: 1}},
		{nil, tally{lost: 5}},
	} {
		if got := compareOrder(want, tt.got); got != tt.want {
			t.Errorf("%v: %v; want %v", tt.got, got, tt.want)
		}
	}
}
