package campaign

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// livenessLimit is how long after the last fault everything has to be there.
const livenessLimit = 3 * time.Minute

// manner is how a sink applies what a campaign writes.
type manner struct {
	parallel int // sessions
	broad    int // sessions of the load that give them something to do
}

var (
	inOrder = manner{parallel: 1}
	aside   = manner{parallel: 4, broad: 8}
)

func (m manner) into(url string) string {
	return strings.Replace(intoPostgres(url), "{", fmt.Sprintf("{parallel: %d, ", m.parallel), 1)
}

// severalAtWork waits until the sink has several sessions at the target: how many of
// them are met at once is a matter of the machine's load.
func severalAtWork(t testing.TB, url string, parallel int) {
	t.Helper()
	const sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'entrain % sink'"
	pgtest.Eventually(t, livenessLimit, "the sink's sessions at work", func() bool {
		n, err := number(t.Context(), url, sessions)
		return err == nil && n >= int64(min(parallel, 2))
	})
}

// seedOr is ENTRAIN_TEST_SEED if it is set, else the other one.
func seedOr(t testing.TB, other uint64) uint64 {
	t.Helper()
	text := os.Getenv("ENTRAIN_TEST_SEED")
	if text == "" {
		return other
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("ENTRAIN_TEST_SEED=%q: %v", text, err)
	}
	return n
}

// killCampaign kills the binary under load while servers crash and sessions are cut.
// Nothing is lost (P1), doubled (P2), reordered (P3) or torn (P4), and the pipeline
// comes back by itself (P9).
func killCampaign(t testing.TB, r *Trial, m manner) {
	c := newChaos(t, r)
	s := c.site
	file := writePipeline(t, s.name, fromPostgres(s.source), m.into(s.target))
	c.program = supervise(t, file)
	file.until(t, "streaming", streaming)
	w := watch(t, s.target, 2)
	l := &load{url: s.source, seed: r.Seed, writes: 4, pace: 15 * time.Millisecond, bulk: 4 * time.Second, rows: 20_000, broad: m.broad}
	l.start(t)
	c.killing()
	l.stop()
	c.settle()
	// Large transactions go one by one: a sink that is behind for them shows one session.
	small := &load{url: s.source, seed: r.Seed + 1, writes: l.writes, pace: l.pace, broad: m.broad}
	small.start(t)
	severalAtWork(t, s.target, m.parallel)
	small.stop()
	t.Logf("%d transactions were refused at the source", l.failed.Load()+small.failed.Load())
	c.settleAndJudge(file, w)
}

// judge asks all checkers and says what came out.
func (c *chaos) judge(w *watcher) {
	t := c.t
	t.Helper()
	h, err := readHistory(t.Context(), c.site)
	if err != nil {
		t.Fatal(err)
	}
	found, err := verdict(t.Context(), c.site, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(found, w.findings()...) {
		t.Error(f)
	}
	order, err := appliedOrder(t.Context(), c.site, h)
	if err != nil {
		t.Fatal(err)
	}
	reads, copies := w.looked()
	if reads < 100 || copies == 0 || len(h.numbered) == 0 {
		t.Errorf("%d reads of the ledger, %d during a COPY, %d numbered changes: both ways to apply must be seen", reads, copies, len(h.numbered))
	}
	c.trial.differ(order)
	c.trial.counted(h, reads)
	c.trial.conclude(t)
}

// checkRest looks at what the program says at rest: it waits for the source,
// and every event is accounted for (P1).
func checkRest(t testing.TB, s site, file pipelineFile) {
	t.Helper()
	file.until(t, "everything is delivered", func(r admin.Report) bool {
		return streaming(r) && r.Status.Waiting == "source" && r.Status.Captured == r.Status.Applied+r.Status.Reread
	})
	report, err := file.status()
	if err != nil {
		t.Fatal(err)
	}
	st := report.Status
	if st.Captured != st.Applied+st.Reread || st.LagSeconds != 0 || st.BufferedBytes != 0 || report.Pipeline != s.name {
		t.Errorf("at rest: %+v", report)
	}
}

// checkEnd stops the program in an orderly way: what it has saved, it has
// confirmed, and it leaves nothing open (P7).
func checkEnd(t testing.TB, s site, file pipelineFile, program *supervisor) {
	t.Helper()
	p := program.terminate(t)
	if p.code() != exitOK {
		t.Errorf("after SIGTERM exit code %d: %s", p.code(), tail(p.stderr.String(), 2000))
	}
	checkConfirmed(t, s.source, s.target, "entrain_"+s.name)
	for _, url := range []string{s.source, s.target} {
		pgtest.Eventually(t, patience, "no sessions are left", func() bool { return len(leftSessions(t.Context(), url)) == 0 })
	}
	checkStateFolder(t, file)
}

// checkConfirmed compares the slot with the position row.
func checkConfirmed(t testing.TB, source, target, slot string) {
	t.Helper()
	confirmed := pgtest.QueryOne(t, source, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+slot+"'")
	saved := pgtest.QueryOne(t, target, "SELECT split_part(position, '@', 1) FROM entrain.position WHERE 'entrain_' || pipeline = '"+slot+"'")
	if confirmed != saved {
		t.Errorf("the slot is confirmed up to %s, the target holds %s", confirmed, saved)
	}
}

// checkStateFolder finds what a program left behind.
func checkStateFolder(t testing.TB, file pipelineFile) {
	t.Helper()
	entries, err := os.ReadDir(file.state())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "state.db" && name != "lock" {
			t.Errorf("left behind: %s", filepath.Join(file.state(), name))
		}
	}
}

// leftSessions names the sessions of entrain in a database.
func leftSessions(ctx context.Context, url string) []string {
	rows, err := query(ctx, url, "SELECT application_name, pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'entrain%'")
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, r := range rows {
		names = append(names, r[0]+" "+r[1])
	}
	return names
}
