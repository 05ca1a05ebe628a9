package campaign

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/pipeline"
)

// mutants are bugs in the data path. Each is made around the real source or
// sink, and must be caught by the same checkers that the campaigns rely on.
var mutants = []struct {
	name  string
	alter func(o *pipeline.Options)
}{
	{"none", func(*pipeline.Options) {}},
	{"acknowledge before it is durable", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, early: true} }},
	{"position outside of the transaction", func(o *pipeline.Options) {
		o.Sink, o.Store = &tamperedSink{Sink: o.Sink, outside: true}, &memory{}
	}},
	{"drop one in 5000", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: dropOneIn(5000)} }},
	{"skip the first change after a reconnect", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: dropFirst} }},
	{"skip truncates", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: dropTruncates} }},
	{"swap two changes of one key", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: swapUpdates} }},
	{"unchanged TOAST as NULL", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: nullToast} }},
	{"delete and insert on key change", func(o *pipeline.Options) { o.Source = &tamperedSource{Source: o.Source, tamper: splitKeyChanges} }},
	{"commit in the middle of a transaction", func(o *pipeline.Options) { o.Sink = &tamperedSink{Sink: o.Sink, write: inHalves} }},
	{"write a batch twice", func(o *pipeline.Options) { o.Sink = &tamperedSink{Sink: o.Sink, write: again()} }},
}

// mutantRuns is how often a campaign of seconds is tried until it shows a bug: a
// transaction that is torn for a moment has to be met by a reader then.
const mutantRuns = 4

// shortCampaign runs a pipeline in this process while its sessions are cut at
// every boundary, and returns all that is wrong.
func shortCampaign(t testing.TB, s site, alter func(*pipeline.Options)) []string {
	t.Helper()
	cuts := newCutter()
	o := options(t, s)
	o.Failpoint = cuts.point
	alter(&o)
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := make(chan error, 1)
	go func() { result <- p.Run(ctx) }()
	pgtest.Eventually(t, patience, "streaming", func() bool { return p.Status().Phase == "streaming" })
	w := watch(t, s.target, 2)
	l := &load{url: s.source, seed: 3, writes: 3, pace: 4 * time.Millisecond, bulk: time.Second, rows: 2000}
	l.start(t)
	wait(t.Context(), 3*time.Second)
	l.stop()
	cuts.stop()
	var found []string
	if err := s.settleOr(t.Context(), result, 15*time.Second); err != nil {
		found = append(found, "liveness: "+err.Error())
	} else {
		cancel()
		if err := <-result; err != nil {
			found = append(found, "end: "+err.Error())
		}
	}
	w.stop()
	cancel()
	h, err := readHistory(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := verdict(t.Context(), s, h)
	if err != nil {
		t.Fatal(err)
	}
	if cuts.made() == 0 && len(found) == 0 { // a bug can end the pipeline before the first cut
		t.Error("no session was cut")
	}
	return append(append(found, w.findings()...), wrong...)
}

// settleOr is settle, unless the pipeline ends before.
func (s site) settleOr(ctx context.Context, result <-chan error, within time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	settled := make(chan error, 1)
	go func() { settled <- s.settle(ctx, within) }()
	select {
	case err := <-settled:
		return err
	case err := <-result:
		cancel(err)
		<-settled
		return fmt.Errorf("the pipeline ended: %w", err)
	}
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
	cuts    int
	stopped bool
}

func newCutter() *cutter { return &cutter{rng: rand.New(rand.NewPCG(1, 2))} }

var errCut = errors.New("cut by the test")

func (c *cutter) point(pipeline.Point) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.rng.IntN(120) != 0 {
		return nil
	}
	c.cuts++
	return entrain.Retryable(errCut)
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
