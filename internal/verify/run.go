package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
)

// Options say what to compare. All fields are required.
type Options struct {
	// Source is also an entrain.Horizon, Sink an entrain.Reacher.
	Source, Sink entrain.DigestSession
	// Map says what the pipeline makes of a table of the source.
	Map func(*entrain.Table) (Mapping, error)
	// Wants chooses among the source's tables.
	Wants func(schema, name string) bool
	// Aside says why the sink has not, on purpose, what the source has of a table, such
	// as "paused", so that it is not compared; empty if it should have.
	Aside func(schema, name string) string
	// Timeout bounds each wait for the sink's position.
	Timeout time.Duration
	// Log hears what takes long.
	Log *slog.Logger
}

// ErrBehind says that differences could not be told from changes in flight. Its
// text says how far the sink is.
type ErrBehind struct{ Why string }

// Error implements error.
func (e *ErrBehind) Error() string { return e.Why }

const (
	// maxOpen bounds the keys that are looked at in one go, and with them memory.
	maxOpen      = 20000
	maxOpenBytes = 32 << 20
	// maxPasses is how often a table is summed up anew because more keys than
	// that were in flight.
	maxPasses = 5
	// atOnce is how many keys are asked for in one query.
	atOnce = 2000
	// betweenRounds lets what was in flight arrive.
	betweenRounds = 300 * time.Millisecond
	pollPosition  = 50 * time.Millisecond
	sayAfter      = 2 * time.Second
)

// run is one comparison.
type run struct {
	Options
	horizon entrain.Horizon
	reacher entrain.Reacher

	results []*Table
	open    []*candidate
	bytes   int        // of the keys in open
	behind  *ErrBehind // set: waiting is of no use any more
}

// Run compares the tables that are wanted, one after the other. What it returns
// is in the source's order, and is there with an *[ErrBehind], too. Any other
// error is one of the sessions.
func Run(ctx context.Context, o Options) ([]*Table, error) {
	r := &run{Options: o}
	var isHorizon, isReacher bool
	r.horizon, isHorizon = o.Source.(entrain.Horizon)
	r.reacher, isReacher = o.Sink.(entrain.Reacher)
	if !isHorizon || !isReacher {
		return nil, errors.New("one of the ends does not tell positions")
	}
	pairs, err := r.pairs(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range pairs {
		if err := r.compare(ctx, p); err != nil {
			return nil, err
		}
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	if r.behind != nil {
		return r.results, r.behind
	}
	return r.results, nil
}

// pairs finds the tables and what of them can be compared.
func (r *run) pairs(ctx context.Context) ([]*pair, error) {
	tables, err := r.Source.Tables(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("list the source's tables: %w", err)
	}
	tables = slices.DeleteFunc(tables, func(t entrain.DigestTable) bool { return !r.Wants(t.Table.Schema, t.Table.Name) })
	maps := make([]Mapping, len(tables))
	delivered := make([]*entrain.Table, len(tables))
	for i, t := range tables {
		if maps[i], err = r.Map(t.Table); err != nil {
			return nil, err
		}
		delivered[i] = maps[i].Table
	}
	sinks, err := r.Sink.Tables(ctx, delivered)
	if err != nil {
		return nil, fmt.Errorf("list the sink's tables: %w", err)
	}
	var pairs []*pair
	for i, t := range tables {
		result := &Table{Source: t.Table.String(), Sink: delivered[i].String(), Outcome: SameRows}
		r.results = append(r.results, result)
		if t.Filtered || maps[i].Filtered {
			result.Outcome, result.Why = Skipped, "filtered, not compared"
			continue
		}
		if t.Once {
			result.Outcome, result.Why = Skipped, "copied once and not kept in step, not compared"
			continue
		}
		if r.Aside == nil {
			r.Aside = func(string, string) string { return "" }
		}
		if why := r.Aside(t.Table.Schema, t.Table.Name); why != "" {
			result.refuse(why)
			continue
		}
		p := &pair{result: result}
		var why string
		if p.source, p.sink, why = align(ends{t, sinks[i]}, maps[i]); why != "" {
			result.refuse(why)
			continue
		}
		for _, k := range p.source.Key {
			result.By = append(result.By, p.source.Columns[k].Name)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// compare looks at one table: the buckets, and in those that differ the keys. As
// long as more keys differ than are looked at in one go, it does so again.
func (r *run) compare(ctx context.Context, p *pair) error {
	for {
		more, err := r.collect(ctx, p)
		switch {
		case err != nil && (ctx.Err() != nil || entrain.IsRetryable(err)):
			return err
		case err != nil:
			p.result.refuse(err.Error())
			return nil
		case !more:
			return nil
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
		p.passes++
		switch {
		case p.result.found() > 0:
			p.result.AtLeast = true
			return nil
		case r.behind != nil:
			return nil
		case p.passes == maxPasses:
			p.result.refuse(fmt.Sprintf("more than %d rows were in flight each time it was looked at", maxOpen))
			return nil
		}
	}
}

// collect adds the keys that differ now to the open ones; there are more than it
// takes if that is full.
func (r *run) collect(ctx context.Context, p *pair) (more bool, err error) {
	source, sink, err := r.buckets(ctx, p)
	if err != nil {
		return false, err
	}
	p.result.Rows, p.result.SinkRows = 0, 0
	var differ []int
	for b, d := range source {
		p.result.Rows += d.Rows
		if !stateOf(d).same(stateOf(sink[b])) {
			differ = append(differ, b)
		}
	}
	for b, d := range sink {
		p.result.SinkRows += d.Rows
		if _, both := source[b]; !both {
			differ = append(differ, b)
		}
	}
	if len(differ) == 0 {
		return false, nil
	}
	if len(r.open) > maxOpen/2 {
		if err := r.settle(ctx); err != nil {
			return false, err
		}
	}
	slices.Sort(differ)
	qa, qb := p.source, p.sink
	qa.In, qb.In = differ, differ
	err = merge(r.Source.Read(ctx, qa), r.Sink.Read(ctx, qb), func(show string, a, b entrain.Digest) bool {
		more = len(r.open) >= maxOpen || r.bytes >= maxOpenBytes
		if !more {
			c := &candidate{of: p, key: cmp.Or(a.Key, b.Key), show: show, first: stateOf(b)}
			r.open = append(r.open, c)
			r.bytes += len(c.key) + len(c.show)
		}
		return !more
	})
	return more, err
}

// buckets sums the table up at both ends at the same time.
func (r *run) buckets(ctx context.Context, p *pair) (source, sink map[int]entrain.Digest, err error) {
	var sinkErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sink, sinkErr = byBucket(ctx, r.Sink, p.sink)
	}()
	source, err = byBucket(ctx, r.Source, p.source)
	<-done
	if err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	if sinkErr != nil {
		return nil, nil, fmt.Errorf("target: %w", sinkErr)
	}
	return source, sink, nil
}

func byBucket(ctx context.Context, s entrain.DigestSession, q entrain.DigestQuery) (map[int]entrain.Digest, error) {
	all := map[int]entrain.Digest{}
	for d, err := range s.Read(ctx, q) {
		if err != nil {
			return nil, err
		}
		all[d.Bucket] = d
	}
	return all, nil
}
