package simulation

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is everything outside of the process, and the scheduler. But for what mu guards
// it is for the scheduler's goroutine, and for others to read while that waits.
type world struct {
	cfg    Config
	rng    *rand.Rand
	shape  shape
	report Report
	trace  *trace
	buf    []byte // of a line of the trace

	history  *history
	source   *source
	targets  []*target
	sequence *sequence // nil without a stream
	calm     bool      // faults have ended
	proc     *process  // nil while none runs
	started  int       // processes

	mu      sync.Mutex
	waiting []*operation
	broken  []Violation // of the step at hand
}

// Run runs the engine for about so many steps, in a bubble of testing/synctest, and
// reports what it saw. It must not be called in a bubble. What it finds is in the
// report and no failure of t.
func Run(t *testing.T, c Config) Report {
	t.Helper()
	var r Report
	synctest.Test(t, func(*testing.T) { r = run(c) })
	return r
}

func run(c Config) Report {
	w := &world{
		cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 0x5eed)), trace: newTrace(c.Trace), history: newHistory(),
	}
	w.build()
	w.report.Seed, w.report.Plant, w.report.Shape = c.Seed, c.Plant, w.shape.String()
	for w.report.Violation == nil && w.report.Steps < c.Steps {
		w.stretch()
	}
	if w.proc != nil {
		w.kill()
	}
	w.report.Hash, w.report.Events = w.trace.sum.Sum64(), len(w.history.events)
	if w.report.Violation != nil {
		w.report.Last = w.trace.last()
	}
	return w.report
}

// stretch is some time with faults, and then one without, at whose end everything has
// to be delivered (P9).
func (w *world) stretch() {
	w.calm = false
	for end := w.report.Steps + 100 + w.rng.IntN(900); w.report.Steps < end && w.report.Violation == nil; {
		w.step()
	}
	w.calm = true
	for left := calmSteps; !w.delivered() && w.report.Violation == nil; left-- {
		if left == 0 {
			w.violate("P9", "%d steps after the last fault not everything is delivered: %s", calmSteps, w.backlog())
			w.judge()
			return
		}
		w.step()
	}
}

// calmSteps are enough to deliver what a stretch can leave behind, and to wait for what
// the engine waits for between its attempts.
const calmSteps = 4000

// step does one thing.
func (w *world) step() {
	synctest.Wait()
	w.report.Steps++
	w.ended()
	w.observe()
	w.choose()
	synctest.Wait()
	w.judge()
}

// sort gives those who wait an order that is not that in which they came.
func (w *world) sort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.waiting, func(a, b *operation) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.p.number, b.p.number))
	})
}

// observe puts what can be seen now into the hash of the trace: who waits for what, and
// what is durable where.
func (w *world) observe() {
	w.sort()
	w.mu.Lock()
	b := w.buf[:0]
	for i, o := range w.waiting {
		o.seen = true
		b = append(append(b, o.key...), ' ')
		b = append(strconv.AppendInt(b, int64(o.size), 10), ' ')
		if i > 0 && w.waiting[i-1].key == o.key && w.waiting[i-1].p == o.p && !o.gone && !w.waiting[i-1].gone {
			w.broken = append(w.broken, Violation{"CR-08", fmt.Sprintf("two operations %s wait, and nobody can tell them apart", o.key), w.report.Steps})
		}
	}
	w.mu.Unlock()
	b = fmt.Appendf(b, "| confirmed %d, told %d of %d transactions, %d sinks", w.source.confirmed, w.source.told, len(w.history.txs), len(w.targets))
	for _, t := range w.targets {
		b = fmt.Appendf(b, ", %d %d", t.next, t.saved)
	}
	w.trace.more(b)
	w.buf = b
}

// violate notes a broken promise. It may be called from any goroutine.
func (w *world) violate(promise, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = append(w.broken, Violation{promise, fmt.Sprintf(format, args...), w.report.Steps})
}

// judge takes over what was noted in the step. What several goroutines noted has no
// order.
func (w *world) judge() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) == 0 || w.report.Violation != nil {
		return
	}
	first := slices.MinFunc(w.broken, func(a, b Violation) int {
		if stops := a.Promise == "P5"; stops != (b.Promise == "P5") { // a stop is what came of the other
			if stops {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.Promise, b.Promise), cmp.Compare(a.What, b.What))
	})
	w.report.Violation = &first
}

// tell writes a line of the trace.
func (w *world) tell(format string, args ...any) {
	w.buf = fmt.Appendf(w.buf[:0], "%d ", w.report.Steps)
	w.buf = fmt.Appendf(w.buf, format, args...)
	w.trace.line(w.buf)
}

// pass lets time pass: what waits for it goes on.
func (w *world) pass(d time.Duration) {
	w.tell("%s pass", d)
	<-time.After(d)
}

// delivered reports whether everything is where it should be, and the source knows.
func (w *world) delivered() bool {
	for _, t := range w.targets {
		if t.next != len(w.history.shown) {
			return false
		}
	}
	return w.source.confirmed == len(w.history.txs) && len(w.waiting) > 0 && w.counted() == ""
}

// backlog says what is not delivered.
func (w *world) backlog() string {
	text := fmt.Sprintf("there are %d events for the sinks, and the source was told of %d of %d transactions", len(w.history.shown), w.source.confirmed, len(w.history.txs))
	for _, t := range w.targets {
		text += fmt.Sprintf(", %s has %d", t.name, t.next)
	}
	return text + w.counted()
}
