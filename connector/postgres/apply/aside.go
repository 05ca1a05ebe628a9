package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dependency"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// aside is one batch that is applied side by side. Groups begin in order, each
// when what it depends on is committed, and commit in order (P3, P4).
//
// A group that fails takes all behind it along: they are rolled back, and
// the writer applies them anew, alone. A group can also wait for a lock of a
// later one, which waits for its commit: the server does not know of that wait
// and cannot end it, so the writer's own session, idle meanwhile, looks who
// stands in the way of the group whose turn it is.
type aside struct {
	w      *writer
	batch  *entrain.Batch
	groups []dependency.Group
	ends   []int // of the transactions, among the events

	mu sync.Mutex
	// Invariants: committed <= failed <= len(groups), committed <= next;
	// groups below committed are committed, those from failed on never are.
	next, committed, failed int
	changed                 chan struct{}  // closed and replaced at every change
	running                 map[int]flying // by group
	doomed                  []string       // sessions whose transactions have to end
	cause                   error          // why group failed did
	lost                    error          // a commit whose outcome is not known
	tallies                 []tally        // by group, of what is committed
}

// flying is a group that is under way.
type flying struct {
	lane   *lane
	cancel context.CancelFunc
}

// run returns when all sessions are at rest again. An error leaves open what is
// committed.
func (a *aside) run(ctx context.Context) error {
	a.failed = len(a.groups)
	a.changed = make(chan struct{})
	a.running = map[int]flying{}
	a.tallies = make([]tally, len(a.groups))
	over := make(chan struct{})
	var lanes, watch sync.WaitGroup
	for _, l := range a.w.side.lanes {
		lanes.Go(func() { a.serve(ctx, l) })
	}
	var fault error
	watch.Go(func() { fault = a.watch(ctx, over) })
	lanes.Wait()
	close(over)
	watch.Wait()
	a.settle()
	switch {
	case a.lost != nil:
		return a.explainLost(ctx)
	case ctx.Err() != nil:
		return ctx.Err()
	case fault != nil:
		return fault
	}
	return a.endDoomed(ctx)
}

// settle makes what is committed count.
func (a *aside) settle() {
	w := a.w
	for i := range a.tallies[:a.committed] {
		w.pending.add(&a.tallies[i])
	}
	if a.committed == len(a.groups) {
		w.committed(a.batch.Through)
		w.side.penalty /= 2
		return
	}
	w.count(w.pos)
}

// rest is what is not applied; nil for nothing.
func (a *aside) rest() *entrain.Batch {
	if a.committed == len(a.groups) {
		return nil
	}
	w := a.w
	w.side.met()
	w.log.Warn("transactions that were applied side by side met at the target, or one was refused; the rest is applied one after the other",
		"groups", len(a.groups), "applied", a.committed, "batches", w.side.pause, "error", a.cause)
	from := 0
	if a.committed > 0 {
		from = a.end(a.committed - 1)
	}
	return &entrain.Batch{Events: a.batch.Events[from:], Through: a.batch.Through, Bytes: a.batch.Bytes}
}

func (a *aside) end(group int) int { return a.ends[a.groups[group].End-1] }

func (a *aside) events(group int) []entrain.Event {
	from := 0
	if group > 0 {
		from = a.end(group - 1)
	}
	return a.batch.Events[from:a.end(group)]
}

// noteOf is the note that a group leaves.
func (a *aside) noteOf(group int) note {
	tx := a.batch.Events[a.end(group)-1].Tx
	return note{Position: a.w.pos, Incarnation: tx.Stream.Incarnation, Version: tx.Version}
}

// serve applies one group after the other by one session.
func (a *aside) serve(ctx context.Context, l *lane) {
	for {
		group, own, ok := a.take(ctx, l)
		if !ok {
			return
		}
		err := l.execute(own, a.events(group))
		if err == nil {
			err = a.await(own, func() bool { return a.committed == group })
		}
		end := executing
		if err == nil {
			end = committing
			err = a.commit(own, l, group)
		}
		l.planner.Reset()
		l.exec.forget()
		a.done(group, end, err)
		if err != nil {
			l.broken = err
			l.disconnect()
			return
		}
	}
}

// take returns the next group once it may begin.
func (a *aside) take(ctx context.Context, l *lane) (int, context.Context, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next >= a.failed {
		return 0, nil, false
	}
	group := a.next
	a.next++
	own, cancel := context.WithCancel(ctx)
	a.running[group] = flying{lane: l, cancel: cancel}
	a.mu.Unlock()
	err := a.await(own, func() bool { return a.committed > a.groups[group].After })
	a.mu.Lock()
	if err == nil && group < a.failed {
		return group, own, true
	}
	cancel()
	delete(a.running, group)
	a.fail(group, err)
	return 0, nil, false
}

// await returns when ready, which is asked under the lock, or when ctx ends.
func (a *aside) await(ctx context.Context, ready func() bool) error {
	for {
		a.mu.Lock()
		is, changed := ready(), a.changed
		a.mu.Unlock()
		if is {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// commit moves the position row and commits. Only the last group of a batch
// waits until that is on disk: what a crash of the server takes is the end of
// the row of commits, and nobody was told of it (P2).
func (a *aside) commit(ctx context.Context, l *lane, group int) error {
	events := a.events(group)
	last := group == len(a.groups)-1
	through, n := a.w.pos, a.noteOf(group)
	var calls []call
	if last {
		through, n = a.batch.Through, note{}
	} else {
		calls = append(calls, call{sql: "SET LOCAL synchronous_commit = off"})
	}
	move := l.moveCall(through, events)
	st := l.stmts.get(statementKey{form: "move aside"}, func() *statement {
		return &statement{sql: moveAsideSQL, oids: moveAheadTypes}
	})
	calls = append(calls, call{st: st, values: append(move.values, n.text())}, call{sql: "COMMIT"})
	f := takeOff(ctx, l.conn, l.stmts, l.exec.sent)
	for _, c := range calls {
		f.add(c)
	}
	_, err := f.land(ignoreRows)
	l.exec.sent = f.sent
	if status := l.conn.TxStatus(); err == nil && status != 'I' {
		err = fmt.Errorf("the session is still in a transaction (%c)", status)
	}
	return err
}

// stage is how far a group got.
type stage uint8

const (
	executing  stage = iota
	committing       // it may be committed, whatever error came of it
)

// done notes how a group ended.
func (a *aside) done(group int, at stage, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := a.running[group]
	f.cancel()
	delete(a.running, group)
	switch {
	case err == nil:
		a.committed++
		a.tallies[group], f.lane.pending = f.lane.pending, tally{}
		a.signal()
		return
	case at == committing && a.lost == nil:
		a.lost = err
	}
	a.doomed = append(a.doomed, f.lane.pid)
	a.fail(group, err)
}

// fail ends the group and all behind it. It is called with the lock held.
func (a *aside) fail(group int, err error) {
	if group >= a.failed {
		return
	}
	a.failed, a.cause = group, err
	for n, f := range a.running {
		if n >= group {
			f.cancel()
		}
	}
	a.signal()
}

func (a *aside) signal() {
	close(a.changed)
	a.changed = make(chan struct{})
}

// watchEvery is how often it is looked who is in the way, but for tests.
const watchEvery = 100 * time.Millisecond

// errMet is why groups are rolled back that an earlier one waits for.
var errMet = errors.New("a transaction waited for a lock of a later one")

// watch ends the groups behind the one whose turn it is, if that waits for them, until
// all is over. A query of its is not cut short by that: it would end the writer's session.
func (a *aside) watch(ctx context.Context, over <-chan struct{}) error {
	tick := time.NewTicker(a.w.side.every)
	defer tick.Stop()
	before := -1
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		head, pid, later := a.look()
		if pid != "" && head == before && len(later) > 0 {
			met, err := a.stands(ctx, pid, later)
			if err != nil && ctx.Err() == nil {
				a.failAll(err)
				return err
			}
			if met {
				a.clear(head)
			}
		}
		before = head
		if err := a.endDoomed(ctx); err != nil && ctx.Err() == nil {
			a.failAll(err)
			return err
		}
	}
}

// look returns the group whose turn it is, its session, and those of later ones.
func (a *aside) look() (head int, pid string, later []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, f := range a.running {
		switch {
		case n == a.committed:
			pid = f.lane.pid
		case n > a.committed:
			later = append(later, f.lane.pid)
		}
	}
	return a.committed, pid, later
}

// waitsSQL follows who waits for whom: a session of somebody else's can be
// between ours.
const waitsSQL = `WITH RECURSIVE blocking(pid) AS (SELECT unnest(pg_blocking_pids($1::int))
UNION SELECT unnest(pg_blocking_pids(pid)) FROM blocking WHERE pid > 0)
SELECT count(*)::text FROM blocking WHERE pid = ANY ($2::int[])`

func (a *aside) stands(ctx context.Context, pid string, later []string) (bool, error) {
	row, err := dial.QueryRow(ctx, a.w.conn, waitsSQL, pid, pidArray(later))
	if err != nil {
		return false, fmt.Errorf("look which sessions wait for each other: %w", err)
	}
	return row[0] != "0", nil
}

func pidArray(pids []string) string { return "{" + strings.Join(pids, ",") + "}" }

// clear ends what is behind the group, if it is still its turn.
func (a *aside) clear(head int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.committed == head {
		a.fail(head+1, errMet)
	}
}

func (a *aside) failAll(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail(a.committed, err)
}

// endSQL ends sessions of ours and waits until they are gone. A server that
// waits for a lock would not notice that its client is.
const endSQL = `SELECT pg_terminate_backend(pid, 5000)::text FROM pg_stat_activity
WHERE pid = ANY ($1::int[]) AND usename = current_user AND application_name = current_setting('application_name')`

// endDoomed makes sure that what was rolled back holds no lock any more.
func (a *aside) endDoomed(ctx context.Context) error {
	a.mu.Lock()
	doomed := a.doomed
	a.doomed = nil
	a.mu.Unlock()
	if len(doomed) == 0 {
		return nil
	}
	if _, err := dial.QueryRows(ctx, a.w.conn, endSQL, pidArray(doomed)); err != nil {
		return fmt.Errorf("end sessions at the target: %w", err)
	}
	return nil
}

// explainLost is about a commit that failed. Who takes the position over finds
// out what became of it.
func (a *aside) explainLost(ctx context.Context) error {
	if moveFailed(a.lost) {
		return a.w.stopFenced(ctx)
	}
	return fmt.Errorf("commit through version %d: %w", a.batch.Events[a.end(a.failed)-1].Tx.Version, a.lost)
}

// add counts what another tally has.
func (t *tally) add(other *tally) {
	for op, n := range other.ops {
		t.ops[op] += n
	}
	t.missing += other.missing
	t.stepdowns += other.stepdowns
	for table, n := range other.missingAt {
		t.addMissing(table, n)
	}
}
