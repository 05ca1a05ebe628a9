package campaign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// flight is a short run of a pipeline in this process, under load and with faults from
// inside.
type flight struct {
	a    *attempt
	site site
	o    pipeline.Options
	cuts *cutter
	load *load
	// during is what happens while there is load.
	during func()
	// within is how long the end may take.
	within time.Duration
	// settle waits until everything is at the target.
	settle func(ctx context.Context) error
	// judge returns what the checkers find at rest.
	judge func(ctx context.Context) ([]string, error)
}

// flight prepares a run of three seconds between two databases.
func (a *attempt) flight() *flight {
	s := newSite(a, a.srv, a.srv)
	f := &flight{
		a: a, site: s, o: options(a, s), cuts: newCutter(a.seed, 30), within: time.Minute,
		load: &load{url: s.source, seed: a.seed, writes: 3, pace: 4 * time.Millisecond, bulk: time.Second, rows: 2000},
	}
	f.during = func() { wait(a.Context(), 3*time.Second) }
	f.settle = func(ctx context.Context) error { return s.settle(ctx, f.within) }
	f.judge = f.judgeRows
	return f
}

// judgeRows asks all checkers.
func (f *flight) judgeRows(ctx context.Context) ([]string, error) {
	h, err := readHistory(ctx, f.site)
	if err != nil {
		return nil, err
	}
	return verdict(ctx, f.site, h)
}

// run runs it and returns all that is wrong, what was seen first in front.
func (f *flight) run() []string {
	t := f.a
	o := f.o
	o.Failpoint = f.cuts.point
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- p.Run(ctx) }()
	pgtest.Eventually(t, patience, "streaming", func() bool {
		select {
		case err := <-result:
			t.Fatalf("it ended before it streamed: %v", err)
		default:
		}
		return p.Status().Phase == "streaming"
	})
	w := watch(t, f.site.target, 2)
	f.load.start(t)
	f.during()
	for end := time.Now().Add(10 * time.Second); f.cuts.made() == 0 && time.Now().Before(end); {
		wait(t.Context(), 50*time.Millisecond) // a busy machine does little in three seconds
	}
	f.load.stop()
	f.cuts.stop()
	var found []string
	if err := settleOr(t.Context(), result, f.settle); err != nil {
		found = append(found, unsettled(err))
	} else {
		cancel()
		if err := <-result; err != nil {
			found = append(found, "end: "+err.Error())
		}
	}
	w.stop()
	cancel()
	wrong, err := f.judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.cuts.made() == 0 && len(found) == 0 { // a bug can end the pipeline before the first cut
		t.Error("no session was cut")
	}
	return slices.Concat(w.findings(), found, wrong)
}

// settleOr waits for the end, unless the pipeline ends before.
func settleOr(ctx context.Context, result <-chan error, settle func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	settled := make(chan error, 1)
	go func() { settled <- settle(ctx) }()
	select {
	case err := <-settled:
		return err
	case err := <-result:
		cancel(err)
		<-settled
		return fmt.Errorf("%w: %w", errEnded, err)
	}
}

var errEnded = errors.New("the pipeline ended")

// unsettled is the finding that what was written did not arrive: the pipeline ended, or it
// took too long, which also a machine can do that has too much to do.
func unsettled(err error) string {
	if errors.Is(err, errEnded) {
		return "end: " + err.Error()
	}
	return liveness + ": " + err.Error()
}

// liveness is who says that something did not arrive in time.
const liveness = "liveness"

// settleOr is settle, unless the pipeline ends before.
func (s site) settleOr(ctx context.Context, result <-chan error, within time.Duration) error {
	return settleOr(ctx, result, func(ctx context.Context) error { return s.settle(ctx, within) })
}

// options is the pipeline of a site in this process.
func options(t testing.TB, s site) pipeline.Options {
	t.Helper()
	source, err := postgres.NewSource(postgres.SourceConfig{URL: connector.Secret(pgtest.SourceURL(s.source)), Pipeline: s.name, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := postgres.NewSink(postgres.SinkConfig{URL: connector.Secret(pgtest.TargetURL(s.target)), Pipeline: s.name})
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Options{Source: source, Sink: sink, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// cutter ends sessions at random boundaries until it is stopped.
type cutter struct {
	mu      sync.Mutex
	rng     *rand.Rand
	rate    int              // one of so many is cut; 0: none but the next one
	at      []pipeline.Point // where; nil: everywhere
	next    bool             // the next one is
	cut     func()           // called for each; may be nil
	cuts    int
	stopped bool
}

func newCutter(seed uint64, rate int, at ...pipeline.Point) *cutter {
	return &cutter{rng: rand.New(rand.NewPCG(seed, 2)), rate: rate, at: at}
}

var errCut = errors.New("cut by the test")

func (c *cutter) point(p pipeline.Point) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.at != nil && !slices.Contains(c.at, p) {
		return nil
	}
	if !c.next && (c.rate == 0 || c.rng.IntN(c.rate) != 0) {
		return nil
	}
	c.next = false
	c.cuts++
	if c.cut != nil {
		c.cut()
	}
	return entrain.Retryable(errCut)
}

// soon has the next boundary cut.
func (c *cutter) soon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next = true
}

func (c *cutter) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}

func (c *cutter) made() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}
