package campaign

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// sessionTimeout is how long a delivering process of these tests may be silent,
// the least that brokers allow unless they are told otherwise.
const sessionTimeout = 6 * time.Second

// fleet is a pipeline through Kafka, in several processes. Each has a file and a
// state of its own, as on a machine of its own.
type fleet struct {
	t          testing.TB
	trial      *Trial
	rng        *rand.Rand
	site       site
	broker     string
	partitions int
	via        func(url string) string // how processes reach a server, if not directly
	captures   []*supervisor
	workers    []*supervisor
}

func newFleet(t testing.TB, r *Trial, s site, broker string) *fleet {
	t.Helper()
	return &fleet{t: t, trial: r, rng: rand.New(rand.NewPCG(r.Seed, 0)), site: s, broker: broker, partitions: 1}
}

// split gives the topic that is to be made so many partitions.
func (f *fleet) split(partitions int) *fleet {
	f.partitions = partitions
	return f
}

// topic is the stream's.
func (f *fleet) topic() string { return "entrain." + f.site.name + ".changes" }

// file is the pipeline's on one more machine.
func (f *fleet) file(more ...string) pipelineFile {
	f.t.Helper()
	via := f.via
	if via == nil {
		via = func(url string) string { return url }
	}
	sink := strings.Replace(intoPostgres(via(f.site.target)), "{", "{name: out, create_tables: true, ", 1)
	lines := []string{
		"source: " + fromPostgres(via(f.site.source)),
		fmt.Sprintf("stream: {type: kafka, brokers: [%q], partitions: %d, session_timeout: %s}", via(f.broker), f.partitions, sessionTimeout),
		"sinks: [" + sink + "]",
	}
	return writeSections(f.t, f.site.name, append(lines, more...)...)
}

// capture starts one more capturing process, work delivering ones.
func (f *fleet) capture(more ...string) *supervisor {
	f.t.Helper()
	s := superviseAs(f.t, &supervisor{file: f.file(more...), verb: "capture", may: "fenced"})
	f.captures = append(f.captures, s)
	return s
}

func (f *fleet) work(n int) {
	f.t.Helper()
	for range n {
		f.workers = append(f.workers, superviseAs(f.t, &supervisor{file: f.file(), verb: "deliver"}))
	}
}

// kill kills one of these by SIGKILL. As all faults, it reports whether it happened.
func (f *fleet) kill(of []*supervisor, what string) bool {
	of[f.rng.IntN(len(of))].kill(f.t)
	f.trial.happened("SIGKILL of a " + what)
	return true
}

// zombies is the fault that has to happen at least once.
const zombies = "SIGSTOP of a worker until its successor wrote"

// zombie stops a worker until others deliver what it had, as the fences at the
// target tell, and lets it go on then. One that had nothing goes on after a while.
func (f *fleet) zombie() bool {
	pgtest.Eventually(f.t, livenessLimit, "a worker delivers", f.delivers)
	before := f.fences()
	w := f.workers[f.rng.IntN(len(f.workers))]
	pgtest.Eventually(f.t, patience, "a worker is stopped", func() bool { return w.send(syscall.SIGSTOP) })
	what := "SIGSTOP of an idle worker"
	for end := time.Now().Add(sessionTimeout + 6*time.Second); time.Now().Before(end) && f.t.Context().Err() == nil; {
		wait(f.t.Context(), 200*time.Millisecond)
		if f.fences() > before {
			what = zombies
			wait(f.t.Context(), 500*time.Millisecond)
			break
		}
	}
	w.send(syscall.SIGCONT)
	f.trial.happened(what)
	return true
}

// delivers reports whether a worker has ever had a partition.
func (f *fleet) delivers() bool {
	rows, err := query(f.t.Context(), f.site.target, "SELECT to_regclass('entrain.position') IS NOT NULL")
	return err == nil && rows[0][0] == "t" && f.fences() > 0
}

// fences counts how often partitions were taken over.
func (f *fleet) fences() int64 {
	n, err := number(f.t.Context(), f.site.target, "SELECT coalesce(sum(fence), 0) FROM entrain.position")
	if err != nil {
		f.t.Error(err)
	}
	return n
}

// moves waits until transfers of the ledger come that the target does not have now.
func (f *fleet) moves() {
	f.t.Helper()
	before := int64(-1)
	pgtest.Eventually(f.t, livenessLimit, "more is delivered", func() bool {
		n, err := number(f.t.Context(), f.site.target, transfersSQL)
		if before < 0 && err == nil {
			before = n
		}
		return err == nil && n > before
	})
}

// chaos lets as many faults happen as the trial says.
func (f *fleet) chaos() {
	f.trial.harm(f.t, func(i int) bool {
		wait(f.t.Context(), 300*time.Millisecond+time.Duration(f.rng.Int64N(int64(3*time.Second))))
		switch i % 6 {
		case 1:
			return f.kill(f.captures, "capture")
		case 3:
			return f.zombie()
		case 4:
			return f.cut()
		default:
			return f.kill(f.workers, "worker")
		}
	})
}

// cut terminates all sessions of the workers at the target.
func (f *fleet) cut() bool {
	rows, err := query(f.t.Context(), f.site.target, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'entrain%'`)
	if err != nil {
		f.t.Error(err)
	}
	cut := anyEnded(rows)
	if cut {
		f.trial.happened("sessions at the target cut")
	}
	return cut
}

// settled waits until both sides are equal.
func (f *fleet) settled(tables []string, within time.Duration) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), within)
	defer cancel()
	var last []string // of the last look that came to its end
	for {
		found, err := differing(ctx, f.site, tables)
		if err == nil && len(found) == 0 {
			return
		}
		if err == nil {
			last = found
		}
		if ctx.Err() != nil {
			f.t.Fatalf("%s after the faults the sides differ: %v %v", within, last, err)
		}
		wait(ctx, 300*time.Millisecond)
	}
}

// surprises are the ends of processes that nobody asked for.
func (f *fleet) surprises() {
	f.t.Helper()
	for _, s := range append(append([]*supervisor(nil), f.captures...), f.workers...) {
		if text := s.surprises(); text != "" {
			f.t.Errorf("entrain %s ended by itself: %s", s.verb, text)
		}
	}
}

// startWorkers starts a capture and three workers.
func startWorkers(t testing.TB, r *Trial, partitions int) *fleet {
	t.Helper()
	broker := kafkatest.Start(t).Addr()
	srv := pgtest.Start(t, r.Major, nil)
	s := newSite(t, srv, srv)
	f := newFleet(t, r, s, broker).split(partitions)
	f.capture("snapshot: {mode: never}")
	f.captures[0].file.until(t, "the capture streams", streaming)
	f.work(3)
	return f
}

// workersCampaign: a capture and three delivering processes on six partitions are
// killed and stopped at random. Nothing is lost (P1), doubled (P2), or, for a key,
// reordered (P3).
func workersCampaign(t testing.TB, r *Trial) {
	f := startWorkers(t, r, 6)
	// A key that changes moves between partitions, which takes the whole row.
	pgtest.Exec(t, f.site.source, "ALTER TABLE moved REPLICA IDENTITY FULL")
	l := &load{url: f.site.source, seed: f.rng.Uint64(), writes: 2, pace: 20 * time.Millisecond, bulk: 3 * time.Second, rows: 4000, keeps: true, follow: f.site.target}
	l.start(t)
	f.chaos()
	l.stop()
	if r.count(zombies) == 0 {
		t.Error("no worker was stopped until it had a successor")
	}
	f.judge()
}

// orderedWorkersCampaign: with one partition, transactions stay whole at every
// moment (P4), and all changes have one order.
func orderedWorkersCampaign(t testing.TB, r *Trial) {
	f := startWorkers(t, r, 1)
	s := f.site
	w := watch(t, s.target, 2)
	l := &load{url: s.source, seed: f.rng.Uint64(), writes: 2, pace: 20 * time.Millisecond, bulk: 3 * time.Second, rows: 4000, follow: s.target}
	l.start(t)
	f.chaos()
	l.stop()
	f.settled(allTables(), 2*livenessLimit)
	w.stop()
	f.surprises()
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	found, err := verdict(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(found, w.findings()...) {
		t.Error(text)
	}
	reads, _ := w.looked()
	if reads < 100 {
		t.Errorf("only %d reads of the ledger", reads)
	}
	f.unique(t)
	order, err := appliedOrder(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	r.differ(order)
	r.counted(h, reads)
	r.conclude(t)
}

// judge waits until both sides are equal and asks the checkers, where only keys
// have an order.
func (f *fleet) judge() {
	t := f.t
	t.Helper()
	f.settled(allTables(), 2*livenessLimit)
	f.surprises()
	h, err := readHistory(t.Context(), f.site)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checkers() {
		if c.name == "applied" {
			continue
		}
		found, err := c.find(t.Context(), f.site, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range found {
			t.Errorf("%s: %s", c.name, text)
		}
	}
	order, err := orderByTable(t.Context(), f.site, h)
	if err != nil {
		t.Fatal(err)
	}
	if order != (tally{}) {
		t.Errorf("applied: of %d changes %s", len(h.numbered), order)
	}
	if len(h.numbered) == 0 {
		t.Error("no change was numbered")
	}
	f.unique(t)
	f.trial.differ(order)
	f.trial.counted(h, 0)
	f.trial.conclude(t)
}

// orderByTable is what appliedOrder is where only keys have an order: tick, whose
// rows carry all columns, is in one partition and has its order, step has one for
// each key, which the target's trigger checks.
func orderByTable(ctx context.Context, s site, h *history) (tally, error) {
	var all tally
	for _, table := range []string{"tick", "step"} {
		rows, err := query(ctx, s.target, "SELECT op, change_id FROM applied WHERE tbl = '"+table+"' ORDER BY seq")
		if err != nil {
			return all, err
		}
		var want, got []change
		for _, c := range h.numbered {
			if c.table == table {
				want = append(want, c)
			}
		}
		for _, r := range rows {
			c := change{table: table, op: r[0]}
			if _, err := fmt.Sscan(r[1], &c.id); err != nil {
				return all, err
			}
			got = append(got, c)
		}
		t := compareOrder(want, got)
		if table == "step" {
			t.reordered = 0
		}
		all.lost, all.duplicated, all.invented, all.reordered = all.lost+t.lost, all.duplicated+t.duplicated, all.invented+t.invented, all.reordered+t.reordered
	}
	return all, nil
}
