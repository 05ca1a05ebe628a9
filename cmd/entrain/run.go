package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

func (p *program) runCommand() *cobra.Command {
	var until string
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a pipeline until a signal, or with --until until everything up to there is delivered",
		Args:  exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := p.load(args[0])
			if err == nil && (l.source == nil || len(l.sinks) == 0) {
				err = usageError{errors.New("the file has one half of a pipeline: entrain capture FILE or entrain deliver FILE runs it")}
			}
			if err == nil && cmd.Flags().Changed("until") {
				err = l.bound(until)
			}
			if err != nil {
				return err
			}
			return p.runPipeline(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "end when everything up to `now` or an LSN is delivered")
	return cmd
}

// bound makes the source end by itself.
func (l *loaded) bound(until string) error {
	if until == "" {
		return usageError{errors.New("--until is empty: expected now or an LSN (is a variable not set?)")}
	}
	bounder, ok := l.source.(entrain.Bounder)
	if !ok {
		return usageError{fmt.Errorf("--until: a source of type %s has no end", l.sourceType())}
	}
	source, err := bounder.Until(until)
	if err != nil {
		return usageError{fmt.Errorf("--until %s: %w", until, err)}
	}
	l.source, l.bounded = source, true
	return nil
}

// runPipeline holds the pipeline's state while it runs, through the engines that
// a reload makes of its file. Stop order: the engine, what it was asked for, the
// admin socket, the state. A program that has to end at once leaves the closing to
// the system.
func (p *program) runPipeline(ctx context.Context, l *loaded) error {
	state, err := l.openState()
	if err != nil {
		return err
	}
	if l.log != nil && l.half != deliverOnly {
		if err := l.wasDirect(ctx, state); err != nil {
			return errors.Join(err, state.Close())
		}
	}
	build := func(l *loaded) (*work, error) { return p.work(l, state) }
	w, err := build(l)
	if err != nil {
		return errors.Join(err, state.Close())
	}
	d := &desk{name: l.file.Name, at: p.place.get(), started: time.Now()}
	d.put(ctx, w.engine)
	d.watch(w.limits)
	server, err := admin.Listen(state.Folder(), d)
	if err != nil {
		return errors.Join(err, state.Close())
	}
	monitor, err := p.monitor(l, d)
	if err != nil {
		return errors.Join(err, server.Close(), state.Close())
	}
	var reload func() *work
	if !l.bounded {
		left := func(next *loaded) error { return next.noLettersLeft(ctx, state) }
		reload = (&reloader{p: p, now: l, build: build, left: left}).again
	}
	signals := p.supervise(reload)
	p.log.Info("pipeline starts", "pipeline", l.file.Name, "pid", os.Getpid(), "state", state.Folder())
	err = p.runEngines(ctx, d, w, signals)
	var atOnce signalled
	if errors.As(err, &atOnce) {
		return err
	}
	if err == nil {
		st := d.Report().Status
		p.log.Info("pipeline stopped", "pipeline", l.file.Name, "position", st.Position, "applied", st.Applied)
	}
	return errors.Join(err, monitor.Close(), server.Close(), state.Close())
}

// work is the engine that the file describes.
func (p *program) work(l *loaded, state *store.Store) (*work, error) {
	var e engine
	var err error
	if l.log != nil {
		e, err = p.flow(l, state)
	} else if err = l.wasStreamed(); err == nil {
		o := l.options(p, l.sinks[0].sink, state)
		o.Circuit = l.circuit()
		if o.Dedup, err = l.dedup(l.file.Name); err == nil {
			var one *pipeline.Pipeline
			one, err = pipeline.New(o)
			e = direct{one, l.sinks[0].section.Name}
		}
	}
	if err != nil {
		return nil, err
	}
	if why := l.patternWhy(); why != "" {
		p.log.Warn("deduplication: " + why)
	}
	w := &work{engine: e, timeout: l.file.Pipeline.ShutdownTimeout}
	w.late = l.lateEnds()
	if m := l.file.Monitoring; m != nil {
		w.limits = admin.Limits(m.Alerts)
	}
	return w, nil
}

// onTableError is the file's word as the engine takes it.
func (l *loaded) onTableError() pipeline.TableError {
	if l.file.OnTableError == "resync" {
		return pipeline.TableErrorResync
	}
	return pipeline.TableErrorStop
}

// runEngines runs one engine after the other, until one ends that none is to
// follow.
func (p *program) runEngines(ctx context.Context, d *desk, w *work, s *supervisor) error {
	defer s.close()
	for {
		stop := p.forwardLate(ctx, w.late)
		next, err := s.run(ctx, *w)
		var atOnce signalled
		if errors.As(err, &atOnce) {
			return err
		}
		stop()
		d.retire()
		if next == nil {
			return err
		}
		p.log.Info("pipeline starts anew", "pipeline", d.name)
		w = next
		d.put(ctx, w.engine)
		d.watch(w.limits)
	}
}
