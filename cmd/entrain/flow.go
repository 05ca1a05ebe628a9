package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// half says what a process does of a file that has a stream.
type half int

const (
	both half = iota
	captureOnly
	deliverOnly
)

// deliveryName is the name under which a sink keeps the position of what it gets
// from a partition of the pipeline's stream. The partition of the pipeline's own
// changes has none.
func deliveryName(pipeline, sink string, p stream.Partition) string {
	name := pipeline + ":" + sink
	if p != "" && p != stream.Partition(pipeline) {
		name += ":" + string(p)
	}
	return name
}

// flow is the engine of a file with a stream: it is ordered about as its capture
// is, and shows its deliveries besides.
type flow struct {
	capture *pipeline.Pipeline // nil in a process that only delivers
	out     *fanout.Fanout
	log     stream.Log
	cursors map[string][]string // of the deliveries into the file's sinks, by these names
	keepers map[string]entrain.RowKeeper
	// captured asks the source for its tables; nil in a process that only delivers.
	captured func(context.Context) (*entrain.Report, error)
}

// flow makes the engine that captures into the file's stream, delivers from it, or
// both. state is the capture's.
func (p *program) flow(l *loaded, state *store.Store) (*flow, error) {
	f := &flow{log: l.log, cursors: map[string][]string{}, keepers: map[string]entrain.RowKeeper{}}
	for _, end := range l.sinks {
		for _, one := range l.lanes(end, l.file.Classes) {
			f.cursors[end.section.Name] = append(f.cursors[end.section.Name], l.cursor(one.end))
		}
		if keeper, ok := end.sink.(entrain.RowKeeper); ok {
			f.keepers[end.section.Name] = keeper
		}
	}
	o := fanout.Options{Stream: l.log, Bounded: l.bounded, Log: p.log, Pauses: pauses(state.Folder())}
	if l.half != deliverOnly && l.source != nil {
		captures := l.options(p, l.log, state)
		captures.Standby = l.half == captureOnly
		if keeper, ok := l.log.(stream.Keeper); ok && l.file.External() {
			captures.Store = store.In(keeper)
		}
		capture, err := pipeline.New(captures)
		if err != nil {
			return nil, err
		}
		f.capture, o.Capture, f.captured = capture, capture, l.captured
	}
	if l.half != captureOnly {
		o.Sinks = p.fanoutSinks(l, f.capture)
		o.Handovers = func() ([]fanout.Handover, error) { return p.handovers(l) }
	}
	var err error
	f.out, err = fanout.New(o)
	return f, err
}

// fanoutSinks are the deliveries of this process.
func (p *program) fanoutSinks(l *loaded, capture *pipeline.Pipeline) (sinks []fanout.Sink) {
	for _, end := range l.sinks {
		if l.only != "" && l.only != end.section.Name {
			continue
		}
		for _, one := range l.lanes(end, l.file.Classes) {
			if l.windows(one.lane); !l.hasClasses() {
				one.lane = nil
			}
			sinks = append(sinks, p.fanoutSink(l, one, capture))
		}
	}
	return sinks
}

// fanoutSink is the delivery of a class into a sink.
func (p *program) fanoutSink(l *loaded, of laneEnd, capture *pipeline.Pipeline) fanout.Sink {
	end := of.end
	lacking := lackingFrom(capture)
	log := p.log.With("sink", end.name())
	unused := sync.OnceFunc(func() { log.Warn(pipeline.NotDeduplicated) })
	circuits := map[stream.Partition]*pipeline.Circuit{} // of this sink
	return fanout.Sink{
		Name: end.section.Name, Cursor: l.cursor(end), Lane: of.lane,
		Deliver: func(ctx context.Context, at stream.Partition, source entrain.Source) (*fanout.Delivery, error) {
			divided, err := l.division(ctx, end)
			if err != nil {
				return nil, err
			}
			l.building.Lock()
			defer l.building.Unlock()
			if circuits[at] == nil {
				circuits[at] = l.circuit()
			}
			d, err := p.delivery(l, end, at, deliveryFrom{source, circuits[at], lacking, unused})
			return divided.explained(d), err
		},
	}
}

// deliveryFrom is what a delivery goes on with: its partition, the breaker of the
// tries before it, and how tables come that the sink lacks (nil: they do not).
type deliveryFrom struct {
	source  entrain.Source
	circuit *pipeline.Circuit
	lacking func(context.Context, *entrain.Stop) (*entrain.ChunkTable, error)
	unused  func() // called where the sink needs no deduplication
}

// delivery is a pipeline from a partition into a sink. What it has to remember is
// in a folder of its own, whose lock keeps other processes of this machine out.
func (p *program) delivery(l *loaded, end sinkEnd, at stream.Partition, from deliveryFrom) (*fanout.Delivery, error) {
	env := end.env
	env.Pipeline = deliveryName(l.file.Name, end.name(), at)
	env.Log = p.log.With("sink", end.name())
	sink, err := end.build(env)
	if err != nil {
		return nil, err
	}
	dedup, err := l.dedup(env.Pipeline)
	if err != nil {
		return nil, err
	}
	if dedup != nil {
		dedup.Unused = from.unused
	}
	state, err := store.Open(l.sinkFolder(), l.deliveryFolder(end, at))
	if err != nil {
		return nil, err
	}
	o := l.options(p, sink, nil)
	o.Dedup, o.Circuit, o.Failpoint = dedup, from.circuit, failpoint("delivery")
	o.Source, o.Transform, o.Contracts, o.Snapshot, o.OnTableError = from.source, nil, l.deliveryHolds(), pipeline.Snapshot{}, pipeline.TableErrorStop
	o.Store, o.Log, o.Relayed = positions{state}, env.Log, true
	l.keepLetters(&o, letterOwner{sink, env.Pipeline, state.Folder()})
	if maker, ok := sink.(interface{ MakesTables() bool }); ok && maker.MakesTables() && !l.bounded {
		o.Lacking = from.lacking
	}
	o.BufferBytes = min(o.BufferBytes, 2*o.BatchBytes) // the stream is the buffer
	engine, err := pipeline.New(o)
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	here := place{state: state.Folder(), half: l.half, sink: end.section.Name} // a sink's advice is about the delivery's state, not about the capture's
	return &fanout.Delivery{Engine: engine, Close: state.Close, Explain: func(ctx context.Context, err error) error {
		return here.fillStop(l.explainRenamed(ctx, end, sink, err))
	}}, nil
}

// sinkFolder is where the states of deliveries are.
func (l *loaded) sinkFolder() string {
	return filepath.Join(store.Folder(l.file.State.Dir, l.file.Name), "sinks")
}

// wasStreamed refuses to go on without a stream where there was one: the source was
// told to be taken what the sinks may not have, and the state's position is the
// capture's.
func (l *loaded) wasStreamed() error {
	entries, err := os.ReadDir(l.sinkFolder())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look whether the pipeline had a stream: %w", err)
	}
	return &entrain.Stop{
		Code: "stream_taken_out",
		What: fmt.Sprintf("the pipeline %s has run with a stream, and its file has none now", l.file.Name),
		Why:  "changes that are in the stream and not at the sink yet are not in the source's slot any more: going on there would leave them out",
		Next: "put the stream back into FILE; or begin anew: entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
	}
}

// wasDirect refuses to begin a stream where the pipeline went without one: the
// source's slot stands where the sink is. What it finds else is from now on a
// pipeline with a stream.
func (l *loaded) wasDirect(ctx context.Context, state *store.Store) error {
	if l.wasStreamed() != nil {
		return nil
	}
	c, err := state.Load(ctx)
	if err != nil {
		return err
	}
	if c.Position.IsZero() {
		return l.makeSinkFolders()
	}
	return &entrain.Stop{
		Code: "stream_put_in",
		What: fmt.Sprintf("the pipeline %s has run without a stream, through %s, and its file has one now, which is empty", l.file.Name, c.Position),
		Why:  "the source's slot stands where the sink is: what the stream would begin with is not there any more",
		Next: "take the stream, and classes, out of FILE again; or begin anew: entrain teardown FILE; empty the tables at the target (TRUNCATE); entrain run FILE",
	}
}

// makeSinkFolders makes those of an embedded stream before anything is in it.
func (l *loaded) makeSinkFolders() error {
	if l.file.External() {
		return nil
	}
	if err := l.beginClasses(); err != nil {
		return err
	}
	for _, end := range l.sinks {
		if err := os.MkdirAll(filepath.Join(l.sinkFolder(), l.deliveryFolder(end, stream.Partition(l.file.Name))), 0o700); err != nil {
			return fmt.Errorf("make the folder of a delivery: %w", err)
		}
	}
	return nil
}

// deliveryFolder is the name of a delivery's folder.
func (l *loaded) deliveryFolder(end sinkEnd, at stream.Partition) string {
	if end.name() != end.section.Name {
		return url.PathEscape(end.section.Name + "~" + end.class + "." + string(at))
	}
	return url.PathEscape(end.section.Name + "." + string(at))
}

// positions is a state of which a delivery uses the checkpoint only: tables live
// between source and stream.
type positions struct{ pipeline.Store }

// Run implements engine. The stream is closed when both halves have ended.
func (f *flow) Run(ctx context.Context) error {
	err := f.out.Run(ctx)
	if closer, ok := f.log.(io.Closer); ok {
		err = errors.Join(err, closer.Close())
	}
	return err
}

// Status implements engine: the capture's, else that of the first delivery.
func (f *flow) Status() pipeline.Status {
	if f.capture != nil {
		return f.capture.Status()
	}
	for _, s := range f.out.Sinks() {
		return s.Status
	}
	return pipeline.Status{Phase: "connecting", LagBytes: -1}
}

// Sinks tells how the deliveries are.
func (f *flow) Sinks() []pipeline.SinkStatus { return f.out.Sinks() }

// Tables implements engine.
func (f *flow) Tables(ctx context.Context) ([]pipeline.TableStatus, error) {
	if f.capture == nil {
		return nil, stopDelivers()
	}
	return f.capture.Tables(ctx)
}

// Schemas implements engine.
func (f *flow) Schemas() []pipeline.SchemaHistory {
	if f.capture == nil {
		return nil
	}
	return f.capture.Schemas()
}

// Do implements engine.
func (f *flow) Do(ctx context.Context, o pipeline.Order) error {
	if o.Do.AboutLetters() {
		return f.onLetters(ctx, o)
	}
	switch pause := (fanout.Pause{Sink: o.Sink, Partition: o.Partition}); o.Do {
	case pipeline.OrderStand:
		return f.out.Pause(pause)
	case pipeline.OrderGo:
		return f.out.Resume(pause)
	case pipeline.OrderFlush:
		return f.out.Flush(ctx, o.Sink)
	}
	if f.capture == nil {
		return stopDelivers()
	}
	if o.Sink != "" {
		return f.fill(ctx, o)
	}
	return f.capture.Do(ctx, o)
}

func stopDelivers() error {
	return &entrain.Stop{
		Code: "delivers_only",
		What: "this process delivers from a stream and captures nothing",
		Why:  "tables are added, paused and resynced where they are captured",
		Next: "type the command where entrain capture FILE runs",
	}
}

// options are those of the pipeline that reads the file's source.
func (l *loaded) options(p *program, sink entrain.Sink, state *store.Store) pipeline.Options {
	o := pipeline.Options{
		Source: l.source, Transform: l.transform, Sink: sink, Snapshot: l.snapshot, Log: p.log,
		BufferBytes: int(l.file.Pipeline.Buffer), BatchBytes: int(l.file.Pipeline.Batch),
		Contracts: l.captureHolds(), OnTableError: l.onTableError(), ShutdownTimeout: l.file.Pipeline.ShutdownTimeout, Retry: l.retry(),
		Failpoint: failpoint("main"),
	}
	if state != nil {
		o.Store = state
		if l.log == nil {
			l.keepLetters(&o, letterOwner{sink, l.file.Name, state.Folder()})
		}
	}
	return o
}

// ends are all that may have something at a server or in a folder.
func (l *loaded) ends() []any {
	var ends []any
	if l.source != nil {
		ends = append(ends, l.source)
	}
	if l.log != nil {
		ends = append(ends, l.log)
	}
	for _, end := range l.sinks {
		ends = append(ends, end.sink)
	}
	if l.letters != nil {
		ends = append(ends, l.letters)
	}
	if l.keys != nil {
		ends = append(ends, l.keys)
	}
	return ends
}

// sourceType is the word behind type: of the source, for people.
func (l *loaded) sourceType() string {
	if l.file.Source == nil {
		return "none"
	}
	return l.file.Source.Type
}

// part is the sink's name in what check says.
func (e *sinkEnd) part() string {
	if e.env.Pipeline == e.section.Name || e.section.Name == config.DefaultSink {
		return "sink"
	}
	return "sink " + e.section.Name
}

// addSink is the flag of commands that are about one of several sinks.
func addSink(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "sink", "", "which of the file's sinks, by its `name`, if it has several")
}

// sinkNamed is the sink that a command is about.
func (l *loaded) sinkNamed(command, name string) (*sinkEnd, error) {
	var names []string
	for i := range l.sinks {
		end := &l.sinks[i]
		if name == end.section.Name || name == "" && len(l.sinks) == 1 {
			return end, nil
		}
		names = append(names, end.section.Name)
	}
	switch {
	case len(names) == 0:
		return nil, usageError{fmt.Errorf("%s: the file has no sink", command)}
	case name == "":
		return nil, usageError{fmt.Errorf("%s: the file has %d sinks, choose one with --sink: %q", command, len(names), names)}
	}
	return nil, usageError{fmt.Errorf("--sink %s: the file has no such sink, only %q", name, names)}
}
