package campaign

import (
	"fmt"
	"testing"
	"time"
)

// postmasterCampaign: both servers are killed by turns under load, as often as the
// trial says each; both come back with what they had committed, and so does the
// target with what entrain was told that it has (P1 to P4, P9).
func postmasterCampaign(t testing.TB, r *Trial) {
	c := newChaos(t, r)
	file := writePipeline(t, c.site.name, fromPostgres(c.site.source), intoPostgres(c.site.target))
	c.program = supervise(t, file)
	file.until(t, "streaming", streaming)
	w := watch(t, c.site.target, 2)
	l := &load{url: c.site.source, seed: r.Seed, writes: 4, pace: 10 * time.Millisecond, bulk: 2 * time.Second, rows: 5000}
	l.start(t)
	for i := 0; i < r.Faults && !t.Failed(); i++ {
		c.crash("source", c.source)
		c.crash("target", c.target)
		if i%10 == 9 {
			c.program.kill(t)
			r.happened("SIGKILL of the program")
		}
	}
	l.stop()
	c.settleAndJudge(file, w)
}

// settle waits until all that was written is there, as long as that may take.
func (c *chaos) settle() {
	c.t.Helper()
	if err := c.site.settle(c.t.Context(), livenessLimit); err != nil {
		c.t.Errorf("after %s: %v", c.trial.kinds(), err)
	}
}

// settleAndJudge waits until everything is there and checks it.
func (c *chaos) settleAndJudge(file pipelineFile, w *watcher) {
	t := c.t
	t.Helper()
	c.settle()
	w.stop()
	checkRest(t, c.site, file)
	checkEnd(t, c.site, file, c.program)
	if text := c.program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	c.judge(w)
}

// floodCampaign moves as many changes as the trial says, in small transactions, large
// ones and one of a tenth of them all, with some kills on the way. All of it is equal
// in the end and every number exact (P1 to P4).
func floodCampaign(t testing.TB, r *Trial) {
	c := newChaos(t, r)
	file := writePipeline(t, c.site.name, fromPostgres(c.site.source), intoPostgres(c.site.target))
	c.program = supervise(t, file)
	file.until(t, "streaming", streaming)
	w := watch(t, c.site.target, 2)
	l := &load{url: c.site.source, seed: r.Seed, writes: 5, bulk: time.Second, rows: 40_000, broad: 8}
	l.start(t)
	huge := fmt.Sprintf("INSERT INTO bulk SELECT -i, md5(i::text), 0 FROM generate_series(1, %d) i", r.Changes/10)
	if _, err := query(t.Context(), c.site.source, huge); err != nil {
		t.Fatal(err)
	}
	done := int64(0)
	enough := func() bool { return done > r.Changes+r.Changes/50 && l.committed.Load() > r.Changes/50 }
	for kills := 0; (!enough() || kills < r.Faults) && !t.Failed(); {
		wait(t.Context(), time.Second)
		done = changesOf(t, c.site.source)
		if kills < r.Faults && done > int64(kills+1)*r.Changes/int64(r.Faults+1) {
			kills++
			c.program.kill(t)
			r.happened("SIGKILL of the program")
		}
	}
	l.stop()
	c.settleWithin(20 * livenessLimit)
	c.settleAndJudge(file, w)
}

// settleWithin waits longer than a check of liveness would: for a backlog.
func (c *chaos) settleWithin(limit time.Duration) {
	c.t.Helper()
	if err := c.site.settle(c.t.Context(), limit); err != nil {
		c.t.Fatal(err)
	}
}

// changesOf is about how many rows were changed in a database, as the server counts.
func changesOf(t testing.TB, url string) int64 {
	t.Helper()
	n, err := number(t.Context(), url, "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables")
	if err != nil {
		t.Fatal(err)
	}
	return n
}
