package fanout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// Replay is a stretch of the stream that a sink gets once more.
type Replay struct {
	// Sink by its name.
	Sink string
	// Partition, if given, is the only one.
	Partition stream.Partition
	// From is the first moment, To the last one; none for what the sink has.
	From, To Mark
	// Wants chooses tables; nil for all, and for events that are about none.
	Wants func(schema, name string) bool
	// DryRun only counts.
	DryRun bool
}

// Replayed tells what was delivered once more out of one partition.
type Replayed struct {
	// Partition it was.
	Partition stream.Partition `json:"partition"`
	// Events by table; those of several tables, or of none, under "".
	Events map[string]int64 `json:"events"`
	// Taken is how many of them the sink has taken; 0 in a dry run.
	Taken int64 `json:"taken"`
	// Queued is how many of those the sink's version gate has put into its queue.
	Queued int64 `json:"queued"`
	// First and Last are when the first and the last one were committed.
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Replay delivers a stretch once more, of the partitions that this process delivers
// into the sink, between what comes from the stream meanwhile. What it returns beside an
// error was done. What the sink had taken when a session broke comes again if the
// stretch is replayed anew. It may be called while Run works, from any goroutine.
func (f *Fanout) Replay(ctx context.Context, r Replay) ([]Replayed, error) {
	parts, rewinder, err := f.stretches(r)
	if err != nil {
		return nil, err
	}
	var all []Replayed
	for _, s := range parts {
		err := s.run(ctx, rewinder)
		all = append(all, s.done)
		if err != nil && s.done.Taken > 0 {
			err = fmt.Errorf("behind %d events that the sink has taken: %w", s.done.Taken, err)
		}
		if err != nil {
			return all, fmt.Errorf("replay partition %s: %w", s.partition, err)
		}
	}
	return all, nil
}

// replayable are the deliveries that a replay goes through. One of a class that waits
// for a window has no session, and is none of them.
func (f *Fanout) replayable(r Replay) (parts []placed, err error) {
	known := false
	for _, s := range f.sinks {
		if !s.is(r.Sink) {
			continue
		}
		known = true
		if f.holds(&s.Sink, r.Partition) {
			return nil, errStill(s.full())
		}
		if s.Lane != nil && s.Lane.Schedule != nil {
			return nil, fmt.Errorf("sink %s is delivered by windows, and has no session to replay into: choose another class with --sink", s.full())
		}
		parts = append(parts, s.at(r.Partition)...)
	}
	switch {
	case !known:
		err = fmt.Errorf("this process does not deliver into a sink %q", r.Sink)
	case len(parts) == 0:
		err = fmt.Errorf("this process delivers no such partition into sink %s at the moment: entrain status FILE lists them", r.Sink)
	}
	return parts, err
}

// stretches are what is to be replayed, one a partition that is delivered.
func (f *Fanout) stretches(r Replay) ([]*stretch, stream.Rewinder, error) {
	parts, err := f.replayable(r)
	if err != nil {
		return nil, nil, err
	}
	rewinder, ok := f.opt.Stream.(stream.Rewinder)
	if !ok {
		return nil, nil, errors.New("this kind of stream cannot be read once more")
	}
	var all []*stretch
	for _, p := range parts {
		all = append(all, &stretch{Replay: r, f: f, lane: p.lane, partition: p.name, engine: p.engine, done: Replayed{Partition: p.name, Events: map[string]int64{}}})
	}
	return all, rewinder, nil
}

// Met shows the tables of which the stream has events that a replay could take, each at
// its first event in a partition, until enough is true. The replay's moments do not
// count. Errors and calls are as those of Replay.
func (f *Fanout) Met(ctx context.Context, r Replay, enough func(*entrain.Table) bool) error {
	parts, rewinder, err := f.stretches(r)
	if err != nil {
		return err
	}
	found := false
	for _, s := range parts {
		source, err := s.source(ctx)
		if err != nil || source == nil {
			return err
		}
		from, _, err := rewinder.Rewind(ctx, s.partition, time.Time{})
		if err != nil {
			return err
		}
		known := map[string]bool{}
		err = read(ctx, source, from, func(b *entrain.Batch) bool {
			for i := range b.Events {
				t := b.Events[i].Table
				if t == nil || known[t.String()] || s.lane != nil && !s.lane.wants(&b.Events[i], s.lane.sees) {
					continue
				}
				known[t.String()] = true
				found = found || enough(t)
			}
			return !found
		})
		if err != nil || found {
			return err
		}
	}
	return nil
}

// errStill is said where something would be delivered into a sink that a person has
// paused.
func errStill(sink string) error {
	return fmt.Errorf("sink %s stands still, and takes nothing: entrain sink resume FILE %[1]s", sink)
}

// Still returns an error if the delivery of an engine is to stand still: what it is asked
// to do it does not do before it is resumed. It may be called from any goroutine.
func (f *Fanout) Still(e *pipeline.Pipeline) error {
	for _, s := range f.sinks {
		for _, p := range s.at("") {
			if p.engine == e && f.stands(&s.Sink, p.name) {
				return errStill(s.full())
			}
		}
	}
	return nil
}

// placed is a partition that is delivered.
type placed struct {
	lane   *Lane
	name   stream.Partition
	engine *pipeline.Pipeline
}

// at returns the partitions at work, or one.
func (s *sink) at(only stream.Partition) (list []placed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.parts {
		if p.engine != nil && (only == "" || name == only) {
			list = append(list, placed{s.Lane, name, p.engine})
		}
	}
	slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.name, b.name) })
	return list
}

// replayPatience is how long a delivery may be away when a replay begins.
const replayPatience = 30 * time.Second

// stretch is a replay of one partition.
type stretch struct {
	Replay
	f         *Fanout
	lane      *Lane
	partition stream.Partition
	engine    *pipeline.Pipeline
	done      Replayed
	time      time.Time // of the last event that had one
}

// source reads what the sink has; nil if that is nothing.
func (s *stretch) source(ctx context.Context) (entrain.Source, error) {
	asking, cancel := context.WithTimeout(ctx, replayPatience)
	end, err := s.engine.Delivered(asking)
	if cancel(); err != nil || end.IsZero() {
		return nil, err
	}
	return s.f.opt.Stream.Read("", s.partition).(entrain.Bounder).Until(end.Offset)
}

func (s *stretch) run(ctx context.Context, rewinder stream.Rewinder) error {
	source, err := s.source(ctx)
	if err != nil || source == nil {
		return err
	}
	from, whole, err := rewinder.Rewind(ctx, s.partition, s.From.Time)
	if err == nil && !whole {
		err = s.whole(ctx, source, from)
	}
	if err != nil {
		return err
	}
	if s.DryRun {
		return read(ctx, source, from, func(b *entrain.Batch) bool {
			for i := range b.Events {
				s.wants(&b.Events[i])
			}
			return true
		})
	}
	const queued = "requeued" // a count of the gate's
	before := s.engine.Status().Counts[queued]
	s.done.Taken, err = s.engine.Redeliver(ctx, pipeline.Redelivery{Source: source, From: from, Wants: s.wants})
	s.done.Queued = s.engine.Status().Counts[queued] - before
	return err
}

// whole refuses a stretch of which the stream may have lost the beginning: one that the
// first thing that is there does not come before.
func (s *stretch) whole(ctx context.Context, source entrain.Source, from entrain.Position) error {
	var first *entrain.Transaction
	err := read(ctx, source, from, func(b *entrain.Batch) bool {
		for i := range b.Events {
			if tx := *b.Events[i].Tx; !tx.CommitTime.IsZero() {
				first = &tx
				return false
			}
		}
		return true
	})
	if err != nil || first != nil && s.From.compare(first) < 0 {
		return err
	}
	return s.stopIncomplete(first)
}

// stopIncomplete is about a stretch whose beginning is gone; first is what is there, or
// nil.
func (s *stretch) stopIncomplete(first *entrain.Transaction) error {
	stop := &entrain.Stop{
		Code: "replay_incomplete",
		What: fmt.Sprintf("what was committed from %s on is not in the stream any more: partition %s has nothing that the sink has", s.From, s.partition),
		Why:  "the stream has removed what all sinks had read, or what was older than its retention",
		Next: "give the stream in FILE a retention, such as retention: 24h, for the next time; now: entrain table resync FILE TABLE delivers a table's rows anew",
	}
	if first != nil {
		begins := first.CommitTime.UTC()
		stop.What = fmt.Sprintf("what was committed from %s on is not all in the stream any more: partition %s begins with a transaction of %s",
			s.From, s.partition, begins.Format(time.RFC3339))
		stop.Next = fmt.Sprintf("entrain replay FILE --sink %s --from %s   # what is still there", s.Sink, begins.Add(time.Second).Format(time.RFC3339))
	}
	return stop
}

// wants reports whether an event belongs to the stretch, and counts it.
func (s *stretch) wants(e *entrain.Event) bool {
	tx := *e.Tx
	if tx.CommitTime.IsZero() {
		tx.CommitTime = s.time // of a snapshot: it came behind the one before
	}
	s.time = tx.CommitTime
	if s.From.compare(&tx) < 0 || !s.To.isZero() && s.To.compare(&tx) > 0 || e.Op == entrain.OpSchema || e.Op == entrain.OpReadEnd || double(e) {
		return false
	}
	if s.lane != nil && !s.lane.wants(e, s.lane.sees) {
		return false
	}
	var name string
	if e.Table != nil {
		name = e.Table.String()
	}
	if s.Wants != nil && (e.Table == nil || !s.Wants(e.Table.Schema, e.Table.Name)) {
		return false
	}
	s.done.Events[name]++
	if s.done.First.IsZero() {
		s.done.First = tx.CommitTime
	}
	s.done.Last = tx.CommitTime
	return true
}

// double reports whether an event is about rows that were being copied beside a table.
func double(e *entrain.Event) bool {
	return e.Table != nil && e.Table.Shadow || e.Truncate != nil && len(e.Truncate.Tables) > 0 && e.Truncate.Tables[0].Shadow
}

// read shows the batches of a source to do, until it is done or the source is.
func read(ctx context.Context, source entrain.Source, from entrain.Position, do func(*entrain.Batch) bool) error {
	r, err := source.Open(ctx, from)
	if err != nil {
		return err
	}
	for more := true; more && err == nil; {
		var b *entrain.Batch
		if b, err = r.Read(ctx); err == nil {
			more = do(b)
			free(b)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, r.Close())
}
