package campaign

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/throwaway"
)

// topology is how a pipeline is made of processes.
type topology string

const (
	single topology = "direct"   // one process, from database to database
	fanned topology = "embedded" // one process, a stream in it, two databases and a file
	spread topology = "Kafka"    // a capture, a broker, two workers
)

// plan is what an arena is to be.
type plan struct {
	topology topology
	// doors, if set, is a host on which a door listens in front of each server.
	doors string
	// inside is by what every command goes, under what each start of the program goes
	// by besides; as in supervisor.
	inside []string
	under  func() []string
	// folder is where the program has its files, among them the folders state, stream
	// and lines; empty: a new one. seen is what it is called from here.
	folder, seen string
	more         []string // lines of the pipeline's file
	load         *load    // if it is not the usual one
	on           *chaos   // the servers, if they are there already
}

// arena is a pipeline of any topology, to which faults are done under load, and the
// checkers.
type arena struct {
	*chaos
	plan
	second   site // the second database of the embedded topology
	file     pipelineFile
	doors    map[string]*door
	programs []*supervisor
	fleet    *fleet
	watchers []*watcher
	waiting  int64 // transactions of the ledger, as the last stall ended
}

// newArena starts servers, programs, checkers and the load.
func newArena(t testing.TB, r *Trial, p plan) *arena {
	t.Helper()
	if p.on == nil {
		p.on = newChaos(t, r)
	}
	a := &arena{chaos: p.on, plan: p, doors: map[string]*door{}}
	if p.doors != "" {
		a.doors["source"], a.doors["target"] = newDoor(t, p.doors, a.source.Addr()), newDoor(t, p.doors, a.target.Addr())
	}
	if a.folder == "" {
		a.folder = t.TempDir()
	}
	if a.seen == "" {
		a.seen = a.folder
	}
	sites := []site{a.site}
	switch p.topology {
	case single:
		a.write("sink: " + intoPostgres(a.via(a.site.target)))
	case fanned:
		a.fan()
		sites = append(sites, a.second)
	case spread:
		a.workers()
		sites = nil // a key has an order there, not a transaction
	}
	for _, s := range sites {
		a.watchers = append(a.watchers, watch(t, s.target, 1))
	}
	a.begin()
	return a
}

// via is a URL as the program has it: through the doors. The servers have no TLS,
// without which the program goes to no other host.
func (a *arena) via(url string) string {
	before := url
	for _, d := range a.doors {
		url = d.through(url)
	}
	if url != before && a.plan.doors != loopback && strings.Contains(url, "://") {
		url += "?sslmode=disable"
	}
	return url
}

const loopback = "127.0.0.1"

// write writes the file of a pipeline that is one process, and starts it.
func (a *arena) write(lines ...string) {
	a.t.Helper()
	lines = append(append(lines, a.more...), "snapshot: {mode: never}", "source: "+fromPostgres(a.via(a.site.source)))
	home := a.t.TempDir()
	a.file = writeIn(a.t, home, a.site.name, append(lines, fmt.Sprintf("state: {dir: %q}", filepath.Join(a.folder, "state")))...)
	a.file.dir = a.seen
	a.programs = []*supervisor{superviseAs(a.t, &supervisor{file: a.file, verb: "run", under: a.prefix})}
	a.file.until(a.t, "streaming", streaming)
}

// prefix is by what the program is started.
func (a *arena) prefix() []string {
	all := slices.Clone(a.inside)
	if a.under != nil {
		all = append(all, a.under()...)
	}
	return all
}

// fan makes the second target and the pipeline of the embedded topology.
func (a *arena) fan() {
	t := a.t
	t.Helper()
	a.second = a.site
	a.second.target = pgtest.CreateDatabase(t, a.target)
	pgtest.Exec(t, a.second.target, tablesSQL+accountsSQL()+rowsSQL, countersSQL)
	if err := os.MkdirAll(filepath.Join(a.seen, "lines"), 0o755); err != nil {
		t.Fatal(err)
	}
	sinks := []string{
		sinkNamed("one", creating(intoPostgres(a.via(a.site.target)))), sinkNamed("two", creating(intoPostgres(a.via(a.second.target)))),
		sinkNamed("lines", intoFile(filepath.Join(a.folder, "lines", "lines.jsonl"))),
	}
	a.write(fmt.Sprintf("stream: {type: embedded, dir: %q}", filepath.Join(a.folder, "stream")), "sinks: ["+strings.Join(sinks, ", ")+"]")
}

// workers starts a broker, a capture and two workers.
func (a *arena) workers() {
	t := a.t
	t.Helper()
	pgtest.Exec(t, a.site.source, "ALTER TABLE moved REPLICA IDENTITY FULL") // a key that changes moves between partitions
	broker := a.broker()
	a.fleet = newFleet(t, a.trial, a.site, broker).split(3)
	a.fleet.via = a.via
	a.fleet.capture("snapshot: {mode: never}")
	a.file = a.fleet.captures[0].file
	a.file.until(t, "the capture streams", streaming)
	a.fleet.work(2)
	a.programs = append(slices.Clone(a.fleet.captures), a.fleet.workers...)
	a.load = &load{writes: 2, pace: 20 * time.Millisecond, bulk: 3 * time.Second, rows: 4000, keeps: true}
}

// broker starts one and returns its address. Behind a door its clients have a listener
// of their own, which the door is the address of: what the broker says to itself is
// none of the network's business.
func (a *arena) broker() string {
	if a.plan.doors == "" {
		return kafkatest.Start(a.t).Addr()
	}
	port := freePorts(a.t, 3)
	clients := fmt.Sprintf("127.0.0.1:%d", port+2)
	d := newDoor(a.t, a.plan.doors, clients)
	kafkatest.StartOwn(a.t, kafkaserver.Config{Port: port, Settings: map[string]string{
		"listeners":                      fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d,CLIENTS://%s", port, port+1, clients),
		"advertised.listeners":           fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CLIENTS://%s", port, d.addr()),
		"listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENTS:PLAINTEXT",
	}})
	a.doors["broker"] = d
	return clients
}

// freePorts returns the first of n ports in a row that nobody has.
func freePorts(t testing.TB, n int) int {
	t.Helper()
	for range 50 {
		first, free := throwaway.RandomPort(), 0
		for i := range n {
			if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i)); err == nil {
				l.Close()
				free++
			}
		}
		if free == n {
			return first
		}
	}
	t.Fatalf("there are no %d free ports in a row", n)
	return 0
}

// begin starts the load.
func (a *arena) begin() {
	if a.load == nil {
		a.load = &load{writes: 2, pace: 20 * time.Millisecond, bulk: 2 * time.Second, rows: 4000}
	}
	a.load.url, a.load.seed = a.site.source, a.trial.Seed
	a.load.start(a.t)
}

// sides are the names of the doors.
func (a *arena) sides() []string { return slices.Sorted(maps.Keys(a.doors)) }

// targets are the databases that everything has to be in.
func (a *arena) targets() []site {
	if a.topology == fanned {
		return []site{a.site, a.second}
	}
	return []site{a.site}
}

// alive: what is written now is everywhere in time, in a pipeline that says so itself
// (P9).
func (a *arena) alive(within time.Duration) {
	t := a.t
	t.Helper()
	end := time.Now().Add(within)
	for _, s := range a.targets() {
		if err := s.settle(t.Context(), time.Until(end)); err != nil {
			t.Errorf("after %s: %v", a.trial.kinds(), err)
			a.describe()
			return
		}
	}
	if a.topology == spread {
		return // the marker's partition says nothing of the others; judge waits for them
	}
	ctx, cancel := context.WithDeadline(t.Context(), end)
	defer cancel()
	for {
		report, err := admin.Ask(ctx, a.file.state())
		if err == nil && streaming(report) {
			return
		}
		if wait(ctx, 100*time.Millisecond); ctx.Err() != nil {
			t.Errorf("%s after %s the pipeline does not say that it streams: %+v %v", within, a.trial.kinds(), report.Status, err)
			return
		}
	}
}

// describe logs what the processes said last.
func (a *arena) describe() {
	for _, s := range a.programs {
		if p := s.process(); p != nil {
			a.t.Logf("entrain %s: %s", s.verb, tail(p.stderr.String(), 3000))
		}
	}
}

// finish ends the load, waits until everything is everywhere and asks all checkers.
func (a *arena) finish() {
	t := a.t
	t.Helper()
	a.load.stop()
	a.alive(livenessLimit)
	t.Logf("%d transactions were refused at the source", a.load.failed.Load())
	if a.topology == spread {
		a.fleet.judge()
		return
	}
	// At rest, every event is accounted for (P1).
	a.file.until(t, "everything is delivered, and counted", func(r admin.Report) bool {
		st := r.Status
		return streaming(r) && st.Waiting == "source" && st.Captured == st.Applied+st.Reread && st.LagSeconds == 0 && st.BufferedBytes == 0
	})
	for _, w := range a.watchers {
		w.stop()
	}
	if p := a.programs[0].terminate(t); p.code() != exitOK {
		t.Errorf("after SIGTERM exit code %d: %s", p.code(), tail(p.stderr.String(), 2000))
	}
	launchUnder(t, a.inside, "run", "--until", "now", a.file.path).exit(t, exitOK)
	if text := a.programs[0].surprises(); text != "" {
		t.Errorf("the program ended by itself: %s", text)
	}
	a.judge()
}

// judge compares what is at the targets with what happened.
func (a *arena) judge() {
	t := a.t
	t.Helper()
	h, err := readHistory(t.Context(), a.site)
	if err != nil {
		t.Fatal(err)
	}
	reads := int64(0)
	for i, s := range a.targets() {
		found, err := verdict(t.Context(), s, h)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range append(found, a.watchers[i].findings()...) {
			t.Errorf("target %d: %s", i+1, text)
		}
		order, err := appliedOrder(t.Context(), s, h)
		if err != nil {
			t.Fatal(err)
		}
		a.trial.differ(order)
		n, _ := a.watchers[i].looked()
		if n < 30 {
			t.Errorf("target %d: only %d reads of the ledger", i+1, n)
		}
		reads += n
	}
	if a.topology == fanned {
		found := wrongLines(readText(t, filepath.Join(a.seen, "lines", "lines.jsonl")), h)
		for _, text := range found[:min(len(found), mostFindings)] {
			t.Errorf("lines: %s", text)
		}
	}
	if len(h.numbered) == 0 {
		t.Error("no change was numbered")
	}
	a.trial.counted(h, reads)
	a.trial.conclude(t)
}
