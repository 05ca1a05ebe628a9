package campaign

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// failoverMajors are the versions under test that can hand a slot over; never
// none of them.
func failoverMajors(t testing.TB) []int {
	able := slices.DeleteFunc(pgtest.Majors(t), func(major int) bool { return major < 17 })
	if len(able) == 0 {
		able = []int{18}
	}
	if wide() {
		return able
	}
	return able[len(able)-1:]
}

// promotionCampaign: again and again, on new servers, the source's primary is killed
// under load and its standby promoted. The one process goes on there by itself (P9),
// and the target has what the new primary has: nothing lost (P1), doubled (P2),
// reordered (P3) or torn (P4).
func promotionCampaign(t testing.TB, r *Trial) {
	for round := 0; round < r.Faults && !t.Failed(); round++ {
		within(t, fmt.Sprintf("round %d", round+1), func(t testing.TB) { promotion(t, r) })
	}
	r.conclude(t)
}

const promoted = "primary killed, standby promoted"

func promotion(t testing.TB, r *Trial) {
	major := r.Major
	primary := pgtest.Start(t, major, map[string]string{"synchronized_standby_slots": pgtest.StandbySlot})
	target := pgtest.Start(t, major, nil)
	s := newSite(t, primary, target)
	standby := pgtest.Standby(t, primary, map[string]string{"sync_replication_slots": "on"})
	// The oracle has to be taken over, too.
	pgtest.Exec(t, s.source, "SELECT pg_drop_replication_slot('"+s.oracle+"')",
		"SELECT pg_create_logical_replication_slot('"+s.oracle+"', 'test_decoding', failover => true)")
	host := fmt.Sprintf("127.0.0.1:%d", primary.Port())
	s.source = strings.Replace(s.source, host, fmt.Sprintf("%s,127.0.0.1:%d", host, standby.Port()), 1) + "?target_session_attrs=read-write"
	tr := &trouble{t: t, trial: r, site: s, file: writePipeline(t, s.name, fromPostgres(s.source), intoPostgres(s.target))}
	taken := func(slots string) {
		pgtest.Eventually(t, patience, "the standby has slots: "+slots, func() bool {
			pgtest.Exec(t, s.source, "SELECT pg_log_standby_snapshot()") // or it takes until the next checkpoint or so
			return pgtest.QueryOne(t, standby.URL("postgres"), "SELECT count(*) FROM pg_replication_slots WHERE synced AND NOT temporary") == slots
		})
	}
	taken("1")
	tr.program = launch(t, "run", tr.file.path)
	tr.file.until(t, "streaming", streaming)
	tr.watcher = watch(t, s.target, 2)
	tr.load = &load{url: s.source, seed: r.Seed + uint64(r.count(promoted)), writes: 2, pace: 5 * time.Millisecond, bulk: time.Second, rows: 2000}
	tr.load.start(t)
	taken("2")
	tr.file.until(t, "changes flow", func(r admin.Report) bool { return r.Status.Applied >= 5000 })
	if err := primary.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	pgtest.Promote(t, standby)
	r.happened(promoted)
	before := tr.load.committed.Load()
	pgtest.Eventually(t, patience, "the load goes on", func() bool { return tr.load.committed.Load() >= before+200 })
	tr.finish()
	if line := pgtest.QueryOne(t, s.target, "SELECT position FROM entrain.position"); !strings.HasSuffix(line, "@2") {
		t.Errorf("the position is %s; want one of the new primary", line)
	}
}
