package campaign

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// boundary is a failpoint of the program, at which something happens.
type boundary struct {
	through string // what changes go through: "direct" or "stream"
	place   string // the pipeline: that reads the source ("main"), or the stream ("delivery")
	point   pipeline.Point
	action  string
}

// String names it in a few words.
func (b boundary) String() string {
	return b.through + ": " + b.place + "/" + string(b.point) + " " + b.action
}

// actions are what a failpoint does.
var actions = []string{"panic", "error", "sleep", "return"}

// meaningful reports whether an action is tried at a boundary. A step that returns
// before what it is there for is a bug and not a fault: mutants has it. A stream refuses
// nothing, so that its capture never parks.
func (b boundary) meaningful() bool {
	switch b.point {
	case pipeline.PointReceived, pipeline.PointWriting:
		return b.action != "return"
	case pipeline.PointParked:
		return b.action != "return" && (b.through != "stream" || b.place != "main")
	}
	return true
}

// boundaryPairs are all failpoints with all actions that mean something there.
func boundaryPairs() (all []boundary) {
	for _, of := range [][2]string{{"direct", "main"}, {"stream", "main"}, {"stream", "delivery"}} {
		for _, point := range pipeline.Points() {
			for _, action := range actions {
				all = append(all, boundary{of[0], of[1], point, action})
			}
		}
	}
	return slices.DeleteFunc(all, func(b boundary) bool { return !b.meaningful() })
}

// failpointLoad is how long is written while a failpoint is set off.
const failpointLoad = 1500 * time.Millisecond

// failpointsCampaign is CO-01: at every boundary the program panics, fails, sleeps or
// returns early, and nothing is lost, doubled, reordered or torn. A trial with a number
// of faults takes that many of the pairs by chance.
func failpointsCampaign(t testing.TB, r *Trial) {
	pairs := boundaryPairs()
	rng := rand.New(rand.NewPCG(r.Seed, 1))
	if r.Faults > 0 {
		rng.Shuffle(len(pairs), func(i, k int) { pairs[i], pairs[k] = pairs[k], pairs[i] })
		pairs = pairs[:min(r.Faults, len(pairs))]
	}
	srv := pgtest.Start(t, r.Major, map[string]string{"max_connections": "60"})
	table := [][]string{{"through", "pipeline", "point", "action", "hits", "changes"}}
	points, places, hits := map[pipeline.Point]bool{}, map[string]bool{}, 0
	for _, b := range pairs {
		v := &victim{boundary: b, nth: 2 + rng.IntN(6)}
		if b.point == pipeline.PointParked {
			v.nth = 1 + rng.IntN(2) // a batch is sifted for all that is refused in it
		}
		changes := v.run(t, r, srv)
		hits += v.hits
		points[b.point], places[b.through+b.place+string(b.point)] = true, true
		table = append(table, []string{b.through, b.place, string(b.point), b.action, strconv.Itoa(v.hits), strconv.FormatInt(changes, 10)})
	}
	o := r.result
	r.claims(t, fmt.Sprintf("%d points in %d places × %d actions (%d pairs), %d hits: %d lost, %d duplicated, %d reordered of %d changes",
		len(points), len(places), len(actions), len(pairs), hits, o.Lost, o.Duplicated, o.Reordered, o.Changes), table)
	r.note(t, "the action return is left out at received, writing and parked: what follows there is the delivery itself, and to leave it out is a bug (see mutants)")
}

// victim is the program with a failpoint. A process that panics is started again; the
// first three have the failpoint, the others do not.
type victim struct {
	boundary
	nth int

	wg       sync.WaitGroup
	mu       sync.Mutex
	current  *process
	stopping bool
	hits     int
	wrong    []string // ends that it should not have had
}

const victimLives = 3

// env sets the failpoint off.
func (v *victim) env() []string {
	times := map[string]int{"panic": 1, "error": 5, "sleep": 1, "return": 10}
	return []string{fmt.Sprintf("ENTRAIN_FAILPOINT=%s/%s:%s:%d:%d", v.place, v.point, v.action, v.nth, times[v.action])}
}

// run runs the program under a short load and asks the checkers; it returns how many
// changes there were.
func (v *victim) run(t testing.TB, r *Trial, srv *pgserver.Server) int64 {
	began := time.Now()
	sc := newScope(t, v.String())
	defer sc.end()
	path, err := failing()
	if err != nil {
		sc.Fatal(err)
	}
	s := newSite(sc, srv, srv)
	refusals := &refusals{s: s}
	refusals.create(sc)
	lines := []string{"source: " + fromPostgres(s.source), "snapshot: {mode: never}", "sink: " + intoPostgres(s.target), "retry: {backoff_base_ms: 20, backoff_max_ms: 100}"}
	if v.through == "stream" {
		lines = append(lines, embedded(""))
	}
	if v.point == pipeline.PointParked {
		lines = append(lines, "dead_letter: {unit: transaction}")
	}
	file := writeSections(sc, s.name, lines...)
	v.wg.Go(func() { v.live(sc, path, file) })
	sc.Cleanup(func() { v.end(syscall.SIGKILL) })
	file.until(sc, "streaming", streaming)
	w := watch(sc, s.target, 1)
	l := &load{url: s.source, seed: r.Seed, writes: 2, pace: 4 * time.Millisecond, bulk: 500 * time.Millisecond, rows: 1000}
	l.start(sc)
	if v.point == pipeline.PointParked {
		refusals.write(sc, v.spent)
	} else {
		wait(sc.Context(), failpointLoad)
	}
	for end := time.Now().Add(8 * failpointLoad); !v.spent() && time.Now().Before(end); {
		wait(sc.Context(), 50*time.Millisecond)
	}
	l.stop()
	if err := s.settle(sc.Context(), livenessLimit); err != nil {
		sc.Error(err)
	}
	w.stop()
	v.end(syscall.SIGTERM)
	for _, f := range append(refusals.wrong(sc), append(v.wrong, w.findings()...)...) {
		sc.Error(f)
	}
	if v.hits == 0 {
		sc.Error("the failpoint was not hit")
	}
	for range v.hits {
		r.happened(v.String())
	}
	h := v.judge(sc, r, judged{s, w})
	t.Logf("%s: %d hits, %d changes, %s", v, v.hits, h.changes, time.Since(began).Round(100*time.Millisecond))
	return h.changes
}

// judge asks the checkers.
func (v *victim) judge(t testing.TB, r *Trial, of judged) *history {
	s, w := of.site, of.watcher
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	found, err := verdict(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
	order, err := appliedOrder(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	reads, _ := w.looked()
	r.differ(order)
	r.counted(h, reads)
	return h
}

// live starts the program until the end is asked for.
func (v *victim) live(t testing.TB, path string, file pipelineFile) {
	for life := 0; ; life++ {
		var env []string
		if life < victimLives {
			env = v.env()
		}
		p, err := startProgram(path, env, "run", file.path)
		if err != nil {
			t.Error(err)
			return
		}
		if !v.install(p) {
			p.kill()
		}
		<-p.ended
		if v.note(p) {
			return
		}
		wait(t.Context(), restartPause)
	}
}

func (v *victim) install(p *process) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.current = p
	return !v.stopping
}

// spent reports whether the load need not go on for the failpoint: it was hit, and of
// panics all lives had theirs.
func (v *victim) spent() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.action == "panic" {
		return v.hits >= victimLives
	}
	return v.hits > 0 || v.current.stderr.has(v.says())
}

// says is what the program says at a hit.
func (v *victim) says() string {
	return fmt.Sprintf("failpoint %s/%s: %s\n", v.place, v.point, v.action)
}

// note counts the hits of a process that has ended, and reports whether it was the last.
func (v *victim) note(p *process) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	text := p.stderr.String()
	v.hits += strings.Count(text, v.says())
	panicked := strings.Contains(text, "panic: failpoint "+v.place)
	code := p.code()
	switch {
	case v.stopping && (code == exitOK || code == exitKilled):
	case v.action == "panic" && panicked:
	default:
		v.wrong = append(v.wrong, fmt.Sprintf("the program ended with %d: %s", code, tail(text, 2000)))
	}
	return v.stopping
}

// end ends the program for good.
func (v *victim) end(sig syscall.Signal) {
	v.mu.Lock()
	v.stopping = true
	if v.current != nil {
		_ = v.current.cmd.Process.Signal(sig) // it may have ended
	}
	v.mu.Unlock()
	v.wg.Wait()
}

// refusals are rows of a table of their own of which the target refuses each second.
type refusals struct {
	s       site
	written int
}

const refusalsSQL = "CREATE TABLE refusal (id int PRIMARY KEY, n int NOT NULL)"

func (f *refusals) create(t testing.TB) {
	t.Helper()
	pgtest.Exec(t, f.s.source, refusalsSQL)
	pgtest.Exec(t, f.s.target, refusalsSQL, "ALTER TABLE refusal ADD CONSTRAINT unlucky CHECK (n <> 13)")
}

// write writes them while the load goes on, until enough is done, and not for ever.
func (f *refusals) write(t testing.TB, done func() bool) {
	t.Helper()
	const least, most = 40, 200
	for ; f.written < least || f.written < most && !done(); f.written += 2 {
		pgtest.Exec(t, f.s.source, fmt.Sprintf("INSERT INTO refusal VALUES (%d, 12)", f.written), fmt.Sprintf("INSERT INTO refusal VALUES (%d, 13)", f.written+1))
		wait(t.Context(), 2*failpointLoad/least)
	}
}

// wrong compares: what the target takes is there, and each other row is a dead letter
// once.
func (f *refusals) wrong(t testing.TB) (found []string) {
	t.Helper()
	if f.written == 0 {
		return nil
	}
	for sql, want := range map[string]int{
		"SELECT count(*) FROM refusal":             f.written / 2,
		"SELECT count(*) FROM entrain.dead_letter": f.written / 2,
	} {
		if got := pgtest.QueryOne(t, f.s.target, sql); got != strconv.Itoa(want) {
			found = append(found, fmt.Sprintf("%s: %s; want %d", sql, got, want))
		}
	}
	return found
}

// judged is what the checkers look at.
type judged struct {
	site    site
	watcher *watcher
}
