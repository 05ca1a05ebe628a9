package campaign

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// soakLiveness is how long after a fault what is written then has to be there.
const soakLiveness = time.Minute

// stall is a way in which a target stands still for a while.
type stall struct {
	kind string
	do   func(a *arena, long time.Duration) bool // whether it did
}

// stalls are the ways.
func stalls() []stall {
	return []stall{
		{"tables locked at the target", (*arena).lockTables},
		{"a read-only target", (*arena).readOnly},
		{"SIGSTOP of the target's backend", (*arena).stopBackend},
		{"SIGSTOP of the program", (*arena).stopProgram},
	}
}

// stand waits, and counts how many transactions of the ledger wait at its end.
func (a *arena) stand(long time.Duration) {
	wait(a.t.Context(), long)
	var n [2]int64
	for i, url := range []string{a.site.source, a.site.target} {
		rows, err := query(a.t.Context(), url, "SELECT n FROM ledger_seq")
		if err == nil {
			n[i], err = strconv.ParseInt(rows[0][0], 10, 64)
		}
		if err != nil {
			a.t.Errorf("count what waits: %v", err)
			return
		}
	}
	a.waiting = n[0] - n[1]
}

// lockTables holds a lock on tables that the sink writes to.
func (a *arena) lockTables(long time.Duration) bool {
	conn, err := pgconn.Connect(a.t.Context(), a.site.target)
	if err != nil {
		a.t.Errorf("lock tables: %v", err)
		return false
	}
	defer conn.Close(context.WithoutCancel(a.t.Context()))
	if _, err := conn.Exec(a.t.Context(), "SET deadlock_timeout = '1h'; BEGIN; LOCK TABLE ledger_seq, tick, bulk IN EXCLUSIVE MODE").ReadAll(); err != nil {
		a.t.Errorf("lock tables: %v", err)
		return false
	}
	a.stand(long)
	return true
}

// readOnly is what a target does while another one takes over.
func (a *arena) readOnly(long time.Duration) bool {
	url := a.target.URL("postgres")
	pgtest.Exec(a.t, url, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
	a.stand(long)
	pgtest.Exec(a.t, url, "SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
	return true
}

// stopBackend stops the session of the sink where it is.
func (a *arena) stopBackend(long time.Duration) bool {
	rows, err := query(a.t.Context(), a.site.target, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'entrain%sink'")
	if err != nil {
		a.t.Errorf("stop a backend: %v", err)
		return false
	}
	stopped := 0
	for _, row := range rows {
		if pid, err := strconv.Atoi(row[0]); err == nil && syscall.Kill(pid, syscall.SIGSTOP) == nil {
			defer syscall.Kill(pid, syscall.SIGCONT)
			stopped++
		}
	}
	if stopped == 0 {
		return false
	}
	a.stand(long)
	return true
}

// stopProgram stops the program; its connections stay open.
func (a *arena) stopProgram(long time.Duration) bool {
	if !a.programs[0].send(syscall.SIGSTOP) {
		return false
	}
	a.stand(long)
	a.programs[0].send(syscall.SIGCONT)
	return true
}

// soakFault is one of the whole matrix.
type soakFault struct {
	kind string              // empty: do notes it
	ends bool                // the process
	do   func(a *arena) bool // whether it happened
}

// soakFaults are all that there are here. The disk is the one of the stream.
func soakFaults(d *disks) []soakFault {
	all := []soakFault{
		{"SIGKILL of the program", true, func(a *arena) bool { a.programs[0].kill(a.t); return true }},
		{"", false, func(a *arena) bool { return a.cut("source", a.site.source) }},
		{"", false, func(a *arena) bool { return a.cut("target", a.site.target) }},
		{"", false, func(a *arena) bool { a.crash("source", a.source); return true }},
		{"", false, func(a *arena) bool { a.crash("target", a.target); return true }},
	}
	for _, f := range networkFaults() {
		all = append(all, soakFault{"", false, func(a *arena) bool { return a.bad(f) }})
	}
	for _, s := range stalls() {
		all = append(all, soakFault{s.kind, false, func(a *arena) bool { return s.do(a, a.between(500*time.Millisecond, 5*time.Second)) }})
	}
	all = append(all, soakFault{"a slow target", false, func(a *arena) bool {
		d := a.doors["target"]
		met := len(d.open()) > 0
		d.set(weather{delay: 20 * time.Millisecond})
		wait(a.t.Context(), a.between(time.Second, 5*time.Second))
		d.set(weather{})
		return met || len(d.open()) > 0
	}})
	if d != nil {
		all = append(all, soakFault{"no room for the stream", false, func(a *arena) bool {
			before := lackOf(a.programs[0].process())
			d.shrink(a, "stream")
			wait(a.t.Context(), a.between(time.Second, 5*time.Second))
			d.grow(a, "stream")
			return before.met(a)
		}})
	}
	return all
}

// soakCampaign: every few seconds something of the whole matrix happens; within a
// minute what is written then is there and the pipeline streams (P9). In the second
// half the process stays the same one, and nothing grows. Nothing is lost, doubled,
// reordered or torn (P1 to P4).
func soakCampaign(t testing.TB, r *Trial, top topology) {
	c := newClinic(t)
	p := plan{topology: top, doors: loopback, under: c.prefix, more: []string{c.line()}}
	var d *disks
	if top == fanned { // the state alone does without room
		d = disksIfAllowed(t)
	}
	if d == nil {
		r.note(t, "no disk was full: there is no stream, or namespaces are missing")
	} else {
		p.inside, p.folder, p.seen = d.inside, d.folder, d.seen()
	}
	a := newArena(t, r, p)
	a.hurried()
	began, faults, starts := time.Now(), soakFaults(d), 0
	for i := 0; time.Since(began) < r.Length && !t.Failed(); i++ {
		if i%len(faults) == 0 {
			a.rng.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		}
		pause := min(5*time.Second, r.Length/20)
		f, next := faults[i%len(faults)], time.Now().Add(a.between(pause, 3*pause))
		a.program = a.programs[0]
		late := time.Since(began) > r.Length/2
		if late && f.ends {
			continue
		}
		if late && starts == 0 {
			starts = a.programs[0].started()
		}
		if f.do(a) && f.kind != "" {
			r.happened(f.kind)
		}
		a.alive(soakLiveness)
		if late {
			if err := c.take(a); err != nil {
				t.Errorf("take the vitals: %v", err)
			}
		}
		wait(t.Context(), time.Until(next))
	}
	if n := a.programs[0].started(); starts > 0 && n != starts {
		t.Errorf("in the second half the program was started %d times anew", n-starts)
	}
	c.judge(a)
	a.finish()
}

// disksIfAllowed is newDisks, nil where there are no namespaces: the rest of a soak does
// without.
func disksIfAllowed(t testing.TB) *disks {
	t.Helper()
	if _, err := tool("", "unshare", "--mount", "true"); err != nil || os.Getuid() != 0 {
		return nil
	}
	return newDisks(t)
}

// stalledCampaign: the target or the program stands still for long, in each way there
// is; then the sessions are cut hundreds of times. Memory, files, goroutines and
// backends stay what they are (P6), what waits drains several times as fast as it
// came, and nothing is lost, doubled, reordered or torn (P1 to P4).
func stalledCampaign(t testing.TB, r *Trial) {
	c := newClinic(t)
	a := newArena(t, r, plan{topology: single, under: c.prefix, more: []string{c.line()},
		load: &load{writes: 2, pace: 40 * time.Millisecond, bulk: 5 * time.Second, rows: 2000}})
	wait(t.Context(), 3*time.Second)
	for i, s := range stalls() {
		// The first has half of the time, the others share the rest.
		long := r.Length / 2
		if i > 0 {
			long = r.Length / 2 / time.Duration(len(stalls())-1)
		}
		began, stop := time.Now(), c.every(a, long/20)
		pgtest.Eventually(t, soakLiveness, s.kind, func() bool {
			began = time.Now()
			return s.do(a, long)
		})
		stop()
		r.happened(s.kind)
		if a.waiting < int64(long.Seconds()) { // several a second are written
			t.Errorf("%s for %s: only %d transactions of the ledger waited", s.kind, long.Round(time.Second), a.waiting)
		}
		took := a.drain(began)
		r.note(t, "%s for %s: %d transactions of the ledger and what was between them waited; drained in %s", s.kind, long.Round(time.Second), a.waiting, took)
	}
	c.judge(a)
	c.taken = nil
	r.harm(t, func(i int) bool {
		side, url := "source", a.site.source
		if i%2 == 1 {
			side, url = "target", a.site.target
		}
		cut := a.reconnect(side, url)
		if i%max(1, r.Faults/30) == 0 {
			if err := c.take(a); err != nil {
				t.Errorf("take the vitals: %v", err)
			}
		}
		return cut
	})
	if !t.Failed() {
		a.alive(livenessLimit)
		c.judge(a)
	}
	a.finish()
}

// every takes the vitals again and again, also while nothing moves, until it is stopped.
func (c *clinic) every(a *arena, d time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(a.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for wait(ctx, d); ctx.Err() == nil; wait(ctx, d) {
			_ = c.take(a) // a process that is stopped does not answer
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// drain waits until what piled up since began is there, while the load goes on: it has
// to go three times as fast as it came.
func (a *arena) drain(began time.Time) time.Duration {
	t := a.t
	t.Helper()
	stood, from := time.Since(began), time.Now()
	// What comes meanwhile waits, too: at three times the rate a marker that is written
	// now is there after a third of the time.
	if err := a.site.settle(t.Context(), stood/3+10*time.Second); err != nil {
		t.Errorf("after %s: %v: it does not drain three times as fast as it piled up", stood.Round(time.Second), err)
		a.alive(livenessLimit)
	}
	return time.Since(from).Round(100 * time.Millisecond)
}

// reconnect cuts the sessions at one side and waits until there are new ones and none of
// the old. It reports whether there was one to cut.
func (a *arena) reconnect(side, url string) bool {
	t := a.t
	t.Helper()
	const sessions = "pid || ' ' || backend_start FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'entrain%'"
	rows, err := query(t.Context(), url, "SELECT pg_terminate_backend(pid), "+sessions)
	if err != nil {
		t.Errorf("cut the sessions at the %s: %v", side, err)
		return false
	}
	old := map[string]bool{}
	for _, row := range rows {
		old[row[1]] = row[0] == "t"
	}
	if !anyEnded(rows) {
		wait(t.Context(), 100*time.Millisecond)
		return false
	}
	pgtest.Eventually(t, soakLiveness, fmt.Sprintf("there are new sessions at the %s", side), func() bool {
		rows, err := query(t.Context(), url, "SELECT "+sessions)
		return err == nil && len(rows) > 0 && !slices.ContainsFunc(rows, func(row []string) bool { return old[row[0]] })
	})
	a.trial.happened("sessions at the " + side + " cut")
	return true
}
