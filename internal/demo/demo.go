// Package demo shows entrain at work without any preparation: it starts two
// private PostgreSQL servers, lets a small shop do business on the first, runs
// a pipeline to the second, and at the end compares both, table by table, by plain
// SQL and as entrain verify does.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/internal/bars"
	"github.com/entrainsync/entrain/internal/pgserver"
	"github.com/entrainsync/entrain/pipeline"
)

// Options say how long and how fast the shop does business.
type Options struct {
	// For is how long; zero: until the context of [Run] ends.
	For time.Duration
	// Rate is how many transactions a second the shop makes, if the machine
	// can. Default 200.
	Rate int
	// Stdout receives changes and the verdict, Stderr what goes on meanwhile.
	// Both are required, and may be written to at the same time.
	Stdout, Stderr io.Writer
	// Color paints the operations.
	Color bool
	// Bars shows the copying of existing rows; nil: nothing does.
	Bars *bars.Bars
	// Log receives what the pipeline has to say. Default: discarded.
	Log *slog.Logger
}

// ErrDiffer says that the target did not become equal to the source.
var ErrDiffer = errors.New("source and target differ")

const (
	database = "shop"

	startTimeout   = 50 * time.Second // servers, tables, first session
	catchUpTimeout = 30 * time.Second
	showChanges    = 3 * time.Second // then one line a second
)

// Run runs the demo until its time is over or ctx ends, then stops the shop,
// lets the target catch up, compares, and removes the servers and all their
// files. It returns nil if both sides are equal, an error that wraps
// [ErrDiffer] if they are not, and a *pgserver.NotFoundError in the chain if
// this machine has no PostgreSQL.
func Run(ctx context.Context, o Options) (err error) {
	if o.Rate == 0 {
		o.Rate = 200
	}
	d := &demo{opt: o, screen: newScreen(o)}
	defer func() {
		err = errors.Join(err, d.remove(ctx))
		if err == nil && d.source != nil {
			d.screen.say("servers and files are removed")
		}
	}()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			d.screen.say("stopped before it began")
			return nil
		}
		return err
	}
	if err := d.live(ctx); err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*catchUpTimeout)
	defer cancel()
	if err := d.catchUp(ending); err != nil {
		return err
	}
	if err := d.verdict(ending); err != nil {
		return err
	}
	return d.verify(ending)
}

// demo is one run: two servers and what happens between them.
type demo struct {
	opt            Options
	screen         *screen
	source, target *pgserver.Server
	shop           *shop
	applied        int64 // changes that the target has
	memory         memory
}

// memory is a store for the time of the demo.
type memory struct {
	checkpoint pipeline.Checkpoint
	ledger     pipeline.Ledger
}

// Load implements pipeline.Store.
func (m *memory) Load(context.Context) (pipeline.Checkpoint, error) { return m.checkpoint, nil }

// Save implements pipeline.Store.
func (m *memory) Save(_ context.Context, c pipeline.Checkpoint) error {
	m.checkpoint = c
	return nil
}

// LoadLedger implements pipeline.LedgerStore.
func (m *memory) LoadLedger(context.Context) (pipeline.Ledger, error) { return m.ledger, nil }

// SaveLedger implements pipeline.LedgerStore.
func (m *memory) SaveLedger(_ context.Context, l pipeline.Ledger, c *pipeline.Checkpoint) error {
	m.ledger = l
	if c != nil {
		m.checkpoint = *c
	}
	return nil
}

// start starts the servers, with the shop's tables on both.
func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	install, err := pgserver.Find(ctx, 0)
	if err != nil {
		return fmt.Errorf("the demo needs PostgreSQL for its two private servers: %w", err)
	}
	d.screen.say("starting two private servers of PostgreSQL %s (%s)", install.Version, install.Bin)
	for _, server := range []**pgserver.Server{&d.source, &d.target} {
		s, err := pgserver.Start(ctx, pgserver.Config{Install: install})
		if err != nil {
			return err
		}
		*server = s
		if err := execute(ctx, s.URL("postgres"), "CREATE DATABASE "+database); err != nil {
			return err
		}
	}
	d.screen.say("the shop fills its books: %d orders, in tables that only the source has", pastOrders)
	if err := execute(ctx, d.source.URL(database), schema+past); err != nil {
		return err
	}
	d.screen.say("source %s", d.source.URL(database))
	d.screen.say("target %s", d.target.URL(database))
	return nil
}

func (d *demo) remove(ctx context.Context) error {
	var errs []error
	for _, s := range []*pgserver.Server{d.source, d.target} {
		if s != nil {
			errs = append(errs, s.Remove(ctx))
		}
	}
	return errors.Join(errs...)
}

// ends are the two ends of the pipeline.
func (d *demo) ends() (*postgres.Source, *postgres.Sink, error) {
	source, err := postgres.NewSource(postgres.SourceConfig{
		URL: connector.Secret(d.source.URL(database)), Pipeline: "demo", Create: true, Log: d.opt.Log,
	})
	if err != nil {
		return nil, nil, err
	}
	sink, err := postgres.NewSink(postgres.SinkConfig{
		URL: connector.Secret(d.target.URL(database)), Pipeline: "demo", CreateTables: true, Log: d.opt.Log,
	})
	return source, sink, err
}

// pipeline builds the pipeline between the servers; until is empty or a target
// of [entrain.Bounder].
func (d *demo) pipeline(until string) (*pipeline.Pipeline, error) {
	pg, sink, err := d.ends()
	if err != nil {
		return nil, err
	}
	var source entrain.Source = pg
	if until != "" {
		if source, err = pg.Until(until); err != nil {
			return nil, err
		}
	}
	return pipeline.New(pipeline.Options{
		Source: source, Sink: tap{sink, d.screen}, Log: d.opt.Log,
		Store: &d.memory, Snapshot: pipeline.Snapshot{Mode: pipeline.SnapshotInitial},
	})
}

// live runs shop and pipeline until the time is over, ctx ends or one of them
// fails. The shop stops first, so that what it did can be delivered.
func (d *demo) live(ctx context.Context) error {
	p, err := d.pipeline("")
	if err != nil {
		return err
	}
	piping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var failed error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		failed = p.Run(piping)
	}()
	drawn := make(chan struct{})
	go func() {
		defer close(drawn)
		if d.opt.Bars != nil {
			d.opt.Bars.Follow(piping, p.Status)
		}
	}()
	err = d.trade(ctx, p, ended)
	stop()
	<-drawn
	<-ended
	d.applied += p.Status().Applied
	return errors.Join(err, failed)
}

// trade lets the shop do business while the pipeline streams.
func (d *demo) trade(ctx context.Context, p *pipeline.Pipeline, ended <-chan struct{}) error {
	if err := streaming(ctx, p, ended); err != nil || ctx.Err() != nil {
		return err
	}
	if st := p.Status().Snapshot; st != nil {
		d.screen.say("copied %d existing rows of %d tables in %.1f s; from here on changes flow", st.Rows, len(st.Tables), st.Seconds)
	}
	shop, err := openShop(ctx, d.source.URL(database))
	if err != nil {
		return err
	}
	d.shop = shop
	defer shop.close(ctx)
	trading, stop := context.WithCancel(ctx)
	defer stop()
	if d.opt.For > 0 {
		trading, stop = context.WithTimeout(ctx, d.opt.For)
		defer stop()
	}
	var failed error
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		failed = shop.trade(trading, d.opt.Rate)
	}()
	d.screen.say("the shop makes %d transactions a second; some of them as the target has them:", d.opt.Rate)
	d.follow(p, closed, ended)
	stop()
	<-closed
	return failed
}

// streaming waits for the pipeline's first session: what was committed before
// it would not be delivered.
func streaming(ctx context.Context, p *pipeline.Pipeline, ended <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	for p.Status().Phase != "streaming" {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		case <-ended:
			return nil // its own error says why
		case <-deadline.C:
			return fmt.Errorf("the pipeline does not stream after %s: it is %s %s", startTimeout, p.Status().Phase, p.Status().Error)
		}
	}
	return nil
}

// follow shows changes for the first seconds, then one line a second, until
// the shop closes or the pipeline ends.
func (d *demo) follow(p *pipeline.Pipeline, closed, ended <-chan struct{}) {
	show := showChanges
	if d.opt.For > 0 {
		show = min(show, d.opt.For/2)
	}
	d.screen.showing.Store(true)
	shown := time.NewTimer(show)
	defer shown.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	began := time.Now()
	var last int64
	for {
		select {
		case <-shown.C:
			d.screen.showing.Store(false)
			d.screen.say("from here on one line a second; Ctrl-C stops the shop and compares both sides")
		case now := <-tick.C:
			st := p.Status()
			if !d.screen.showing.Load() {
				d.screen.status(now.Sub(began), st, st.Applied-last)
			}
			last = st.Applied
		case <-closed:
			return
		case <-ended:
			return
		}
	}
}

// catchUp runs the pipeline again, from the position that the target holds to
// the end of the source's log.
func (d *demo) catchUp(ctx context.Context) error {
	d.screen.showing.Store(false)
	d.screen.say("the shop is closed; delivering the rest")
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	p, err := d.pipeline("now")
	if err != nil {
		return err
	}
	err = p.Run(ctx)
	d.applied += p.Status().Applied
	if ctx.Err() != nil {
		d.screen.say("not everything was delivered within %s", catchUpTimeout)
	}
	return err
}
