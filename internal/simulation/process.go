package simulation

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/dedup"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

// process is one life of the program.
type process struct {
	w        *world
	number   int
	cancel   context.CancelFunc
	stopping bool
	done     chan error
	killed   chan struct{}
	dead     bool // guarded by the world's mutex
	robbed   bool // what a dead process sent took the sink over meanwhile
	up       bool // a session was, so that nothing a new one mends ends the process
	// feedback, if not nil, is what a bug has the source told.
	feedback func(context.Context, entrain.Position)

	source *sourceEnd
	engine *pipeline.Pipeline // from the source
	fan    *fanout.Fanout     // nil without a stream
}

// start begins a new life.
func (w *world) start() {
	w.started++
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{w: w, number: w.started, cancel: cancel, done: make(chan error, 1), killed: make(chan struct{})}
	run, err := p.wire()
	if err != nil {
		panic(fmt.Sprintf("simulation: %v", err)) // options that cannot be
	}
	w.proc = p
	w.tell("process %d starts", p.number)
	go func() { p.done <- run(ctx) }()
}

// wire makes the engine and returns what runs it.
func (p *process) wire() (func(context.Context) error, error) {
	w := p.w
	source := &sourceEnd{p: p, saved: func() int { return w.targets[0].saved }}
	p.source = source
	if w.shape.stream {
		return p.wireStream(source)
	}
	if w.cfg.Plant == PlantFeedbackBeforeSaved {
		p.feedback = func(ctx context.Context, at entrain.Position) {
			if r := source.reader; r != nil {
				_ = r.Ack(ctx, at) // the bug does not care
			}
		}
	}
	o, err := p.options(w.targets[0])
	if err != nil {
		return nil, err
	}
	o.Source, o.Transform = source, p.rules()
	p.engine, err = pipeline.New(o)
	return p.engine.Run, err
}

// rules are those of the pipeline from the source; nil if nothing is left out.
func (p *process) rules() func(*entrain.Batch) (*entrain.Batch, error) {
	if !p.w.shape.filters {
		return nil
	}
	return p.w.history.leaveOut
}

// options are those of the pipeline into a sink, but for its source.
func (p *process) options(t *target) (pipeline.Options, error) {
	o := p.w.shape.options()
	o.Sink = &sinkEnd{p: p, t: t}
	o.Store = &storeEnd{p: p, t: t}
	if t.office != nil {
		o.DeadLetters = &pipeline.DeadLetters{Store: &officeEnd{p: p, t: t}, Rules: t.office.rules}
	}
	if t.kind == kindKeys || t.kind == kindRecall {
		pattern, err := dedup.Parse("{id}")
		if err != nil {
			return o, err
		}
		o.Dedup = &pipeline.Dedup{Store: &keysEnd{p: p, t: t}, Pattern: pattern, Delivery: t.name}
	}
	return o, nil
}

func (p *process) wireStream(source *sourceEnd) (func(context.Context) error, error) {
	w := p.w
	source.saved = func() int { return math.MaxInt } // what the stream lost shows when the source is opened
	log, err := packed.New(packed.Config{
		Backend: &backend{p: p}, Producer: producer, MessageBytes: w.shape.messages, MaxBytes: int64(w.shape.room), Retention: w.shape.retention,
	})
	if err != nil {
		return nil, err
	}
	o := w.shape.options()
	o.Circuit = nil
	middle := &river{Log: log, p: p}
	o.Source, o.Sink, o.Transform = source, middle, p.rules()
	if p.engine, err = pipeline.New(o); err != nil {
		return nil, err
	}
	var sinks []fanout.Sink
	var cursors []string
	for _, t := range w.targets {
		cursors = append(cursors, t.name)
		sinks = append(sinks, p.delivery(t))
	}
	log.Cursors(cursors)
	p.fan, err = fanout.New(fanout.Options{Capture: p.engine, Stream: middle, Sinks: sinks})
	return p.fan.Run, err
}

// delivery is one of the stream's sinks.
func (p *process) delivery(t *target) fanout.Sink {
	return fanout.Sink{Name: t.name, Cursor: t.name, Deliver: func(_ context.Context, _ stream.Partition, source entrain.Source) (*fanout.Delivery, error) {
		o, err := p.options(t)
		if err != nil {
			return nil, err
		}
		o.Source, o.Relayed = source, true
		engine, err := pipeline.New(o)
		return &fanout.Delivery{Engine: engine, Explain: func(_ context.Context, err error) error {
			p.explain(t.name, err)
			return err
		}}, err
	}}
}

// ended notices that the process has ended by itself.
func (w *world) ended() {
	if w.proc == nil {
		return
	}
	select {
	case err := <-w.proc.done:
		w.tell("process %d has ended: %v", w.proc.number, err)
		w.proc.explain("process", err)
		if err == nil && !w.proc.stopping {
			w.violate("P9", "the process has ended, and nobody asked it to")
		}
		if errors.Is(err, errFault) && w.proc.up && !w.proc.stopping {
			w.violate("P9", "the process gave up what a new session mends: %v", err)
		}
		w.drop(w.proc)
		w.proc = nil
	default:
	}
}

// explain judges what ended something: faults may, and nothing else.
func (p *process) explain(who string, err error) {
	p.w.mu.Lock()
	dead := p.dead
	p.w.mu.Unlock()
	var stop *entrain.Stop
	var refused *entrain.BatchError
	if p.w.refuses() && errors.As(err, &refused) {
		return // in the last moments, in which nobody takes it out any more
	}
	if p.robbed && errors.As(err, &stop) && stop.Code == "fenced" {
		return // as if there were two processes
	}
	if err == nil || dead || errors.Is(err, errFault) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || entrain.IsRetryable(err) {
		return
	}
	p.w.violate("P5", "%s stopped without a reason: %v", who, err)
}

// refuses reports whether a sink refuses events.
func (w *world) refuses() bool {
	return slices.ContainsFunc(w.targets, func(t *target) bool { return t.office != nil })
}

// drop forgets what a process waited for that has ended: nothing should have.
func (w *world) drop(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.waiting {
		if o.p == p && !o.gone {
			w.broken = append(w.broken, Violation{"P9", "the process has ended, and " + o.key + " still waits", w.report.Steps})
		}
	}
}

// counted compares the counters of the engine with each other, at rest (P1); it is
// empty if they agree.
func (w *world) counted() string {
	if w.proc == nil {
		return ", no process runs"
	}
	engines := []*pipeline.Pipeline{w.proc.engine}
	if w.proc.fan != nil {
		engines = append(engines, w.proc.fan.Engines("")...)
	}
	for _, e := range engines {
		s := e.Status()
		if s.Captured != s.Applied+s.Filtered+s.Parked+s.Reread {
			return fmt.Sprintf(", captured %d is not applied %d + filtered %d + parked %d + reread %d (P1)",
				s.Captured, s.Applied, s.Filtered, s.Parked, s.Reread)
		}
	}
	return w.exact()
}

// exact compares the counters with the history, where one session has delivered all
// that came behind its beginning.
func (w *world) exact() string {
	h, p := w.history, w.proc
	counts := w.shape.stream || w.targets[0].kind <= kindNothing && w.targets[0].office == nil
	if !counts || p.source.opened != 1 {
		return ""
	}
	applied, s := len(h.shown)-h.before[p.source.from], p.engine.Status()
	filtered := len(h.events) - h.ends[p.source.from] - applied
	if s.Applied != int64(applied) || s.Filtered != int64(filtered) {
		return fmt.Sprintf(", applied %d of %d and filtered %d of %d (P1)", s.Applied, applied, s.Filtered, filtered)
	}
	return ""
}
