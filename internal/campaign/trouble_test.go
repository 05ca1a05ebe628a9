package campaign

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// CO-03 SinkRetryable: whatever the target answers that a new try may mend, the
// one process tries again by itself; nothing is skipped and the order is kept
// (P1, P3, P9).
func TestCO03SinkRetryable(t *testing.T) {
	tr := newTrouble(t, sampled(t, 0, 0), 2)
	for _, fault := range []struct {
		name, sign string // the sign is in the program's log
		do         func(tr *trouble)
	}{
		{"deadlocks", "40P01", (*trouble).deadlocks},
		{"serialization failures", "40001", (*trouble).serializationFailures},
		{"an orderly restart", "57P01", (*trouble).restart},
		{"a quick shutdown", "session ended", (*trouble).shutDownAtOnce},
		{"a read-only target", "25006", (*trouble).readOnly},
		{"locked tables", "", (*trouble).lockTables},
	} {
		began := len(tr.program.stderr.String())
		fault.do(tr)
		if fault.sign != "" {
			pgtest.Eventually(t, patience, fault.name+" are met", func() bool {
				return strings.Contains(tr.program.stderr.String()[began:], fault.sign)
			})
		}
		tr.recovers(fault.name)
	}
	tr.finish()
}

// CO-04 LedgerAtomicity: ten readers poll the total at the target while the
// program is killed and its sessions are cut; nobody ever sees a part of a
// transaction (P4).
func TestCO04LedgerAtomicity(t *testing.T) {
	r := sampled(t, 12, 0)
	tr := newTrouble(t, r, 10)
	tr.program.kill()
	c := &chaos{t: t, trial: r, rng: rand.New(rand.NewPCG(r.Seed, 1)), site: tr.site, source: tr.source, target: tr.target}
	c.program = supervise(t, tr.file)
	c.killing()
	tr.load.stop()
	if err := tr.site.settle(t.Context(), livenessLimit); err != nil {
		t.Fatal(err)
	}
	tr.program = c.program.process()
	tr.finish()
	if text := c.program.surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	if reads, _ := tr.watcher.looked(); reads < 500 {
		t.Errorf("only %d reads", reads)
	}
}
