package campaign

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// leastChanges is what a campaign has to move to count.
const leastChanges = 300_000

// livenessLimit is how long after the last fault everything has to be there.
const livenessLimit = 3 * time.Minute

// TestKill60 is CR-01, sampled: the binary is killed 60 times (300 times in the
// wide run) under load while servers crash and sessions are cut. Nothing is
// lost (P1), doubled (P2), reordered (P3) or torn (P4), and the pipeline comes
// back by itself (P9).
func TestKill60(t *testing.T) {
	kills := 60
	if wide() {
		kills = 300
	}
	for _, major := range campaignMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { killCampaign(t, major, kills, inOrder) })
	}
}

// TestKillAside is TestKill60 with a sink that applies transactions side by side.
func TestKillAside(t *testing.T) {
	kills := 14
	if wide() {
		kills = 100
	}
	for _, major := range campaignMajors(t) {
		t.Run(fmt.Sprintf("PostgreSQL %d", major), func(t *testing.T) { killCampaign(t, major, kills, aside) })
	}
}

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
func severalAtWork(t *testing.T, url string, parallel int) {
	t.Helper()
	const sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'entrain % sink'"
	pgtest.Eventually(t, livenessLimit, "the sink's sessions at work", func() bool {
		rows, err := query(t.Context(), url, sessions)
		n := 0
		if err == nil {
			_, _ = fmt.Sscan(rows[0][0], &n)
		}
		return n >= min(parallel, 2)
	})
}

// seedOr is ENTRAIN_TEST_SEED if it is set, else the other one.
func seedOr(t *testing.T, other uint64) uint64 {
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

func killCampaign(t *testing.T, major, kills int, m manner) {
	seed := seedOr(t, rand.Uint64())
	t.Logf("ENTRAIN_TEST_SEED=%d", seed)
	durable := func() *pgserver.Server {
		return pgtest.StartConfig(t, pgserver.Config{Install: pgtest.Install(t, major), Durable: true})
	}
	source, target := durable(), durable()
	s := newSite(t, source, target)
	file := writePipeline(t, s.name, fromPostgres(s.source), m.into(s.target))
	c := &chaos{t: t, rng: rand.New(rand.NewPCG(seed, 0)), site: s, source: source, target: target}
	c.program = supervise(t, file)
	file.until(t, "streaming", streaming)
	w := watch(t, s.target, 2)
	l := &load{url: s.source, seed: seed, writes: 4, pace: 15 * time.Millisecond, bulk: 4 * time.Second, rows: 20_000, broad: m.broad}
	l.start(t)
	began := time.Now()
	c.killing(kills)
	severalAtWork(t, s.target, m.parallel)
	l.stop()
	if err := s.settle(t.Context(), livenessLimit); err != nil {
		t.Errorf("after %d kills: %v", c.kills, err)
	}
	took := time.Since(began)
	w.stop()
	checkRest(t, s, file)
	checkEnd(t, s, file, c.program)
	if text := c.program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	c.conclude(h, w)
	t.Logf("%d transactions in %s, %d refused at the source", h.transactions, took.Round(time.Second), l.failed.Load())
}

// conclude says what came out.
func (c *chaos) conclude(h *history, w *watcher) {
	t := c.t
	found, err := verdict(t.Context(), c.site, h)
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, w.findings()...)
	for _, f := range found {
		t.Error(f)
	}
	reads, copies := w.looked()
	if reads < 100 || copies == 0 || len(h.numbered) == 0 {
		t.Errorf("%d reads of the ledger, %d during a COPY, %d numbered changes: both ways to apply must be seen", reads, copies, len(h.numbered))
	}
	if h.changes < leastChanges {
		t.Errorf("only %d changes; want %d", h.changes, leastChanges)
	}
	faults, kinds := c.faults()
	verdict := "0 lost, 0 duplicated, 0 reordered"
	if t.Failed() {
		verdict = "NOT exactly once"
	}
	t.Logf("%s of %d changes under %d faults (%s); %d of them counted one by one, %d reads of the ledger, %d during a COPY",
		verdict, h.changes, faults, kinds, int64(len(h.numbered))+h.counts["chain_log"]["INSERT"], reads, copies)
}

// checkRest looks at what the program says at rest: it waits for the source,
// and every event is accounted for (P1).
func checkRest(t *testing.T, s site, file pipelineFile) {
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
func checkEnd(t *testing.T, s site, file pipelineFile, program *supervisor) {
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
func checkConfirmed(t *testing.T, source, target, slot string) {
	t.Helper()
	confirmed := pgtest.QueryOne(t, source, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '"+slot+"'")
	saved := pgtest.QueryOne(t, target, "SELECT split_part(position, '@', 1) FROM entrain.position WHERE 'entrain_' || pipeline = '"+slot+"'")
	if confirmed != saved {
		t.Errorf("the slot is confirmed up to %s, the target holds %s", confirmed, saved)
	}
}

// checkStateFolder finds what a program left behind.
func checkStateFolder(t *testing.T, file pipelineFile) {
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
