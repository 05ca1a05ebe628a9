package main

import (
	"context"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// reloader reads a pipeline's file again when it is asked to. It is for one
// goroutine.
type reloader struct {
	p   *program
	now *loaded // what was accepted last
	// build makes the engine of what the file says.
	build func(*loaded) (*work, error)
	// left refuses a file that would leave something behind.
	left func(*loaded) error
}

// again returns what the file says now; nil if nothing is to change, which the
// log says, and why.
func (r *reloader) again() *work {
	next, err := r.read()
	if err == nil && next.file.Same(r.now.file) && next.samePromises(r.now) {
		r.p.log.Info("SIGHUP: the configuration has not changed", "file", r.now.file.Path)
		return nil
	}
	var w *work
	if err == nil {
		w, err = r.build(next)
	}
	if err == nil {
		err = r.left(next)
	}
	if err != nil {
		r.p.log.Error("SIGHUP: the configuration stays as it was", "error", err)
		return nil
	}
	w.streaming = func(ctx context.Context) { r.p.addTables(ctx, next, w.engine) }
	r.now = next
	return w
}

// read reads the file of the pipeline that runs.
func (r *reloader) read() (*loaded, error) {
	at := r.p.place.get()
	defer r.p.place.set(at)
	next, err := r.p.loadAs(r.now.file.Path, r.now.half)
	if err != nil {
		return nil, err
	}
	next.only = r.now.only
	return next, sameHome(r.now, next)
}

// sameHome refuses what would make it another pipeline: its position, its locks
// and its socket are elsewhere.
func sameHome(now, next *loaded) error {
	for _, c := range []struct{ key, now, next string }{
		{"name", now.file.Name, next.file.Name},
		{"state.dir", now.file.State.Dir, next.file.State.Dir},
		{"monitoring.listen", now.listen(), next.listen()},
	} {
		if c.now != c.next {
			return fmt.Errorf("%s: %s cannot change from %q to %q while the pipeline runs: stop it first, or undo that",
				next.file.Path, c.key, c.now, c.next)
		}
	}
	if !now.file.SameStream(next.file) {
		return fmt.Errorf("%s: stream cannot change while the pipeline runs: what is in it belongs to the place where it is; stop it first, or undo that",
			next.file.Path)
	}
	return nil
}

// addTables has the engine, which streams, capture the tables that its
// configuration takes and its source does not capture yet. One that cannot be
// added hinders no other.
func (p *program) addTables(ctx context.Context, l *loaded, e engine) {
	finder, finds := l.source.(entrain.TableFinder)
	adder, adds := l.source.(entrain.TableAdder)
	if !finds || !adds {
		return
	}
	missing, err := finder.MissingTables(ctx)
	if err != nil && ctx.Err() == nil {
		p.log.Warn("cannot look for tables that the new configuration takes", "error", err)
	}
	for _, t := range missing {
		name := t.Schema + "." + t.Name
		if l.copies(t) {
			err = e.Do(ctx, pipeline.Order{Do: pipeline.OrderAdd, Table: name})
		} else {
			err = adder.AddTable(ctx, t.Schema, t.Name)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Error("cannot add a table that the new configuration takes", "table", name, "error", err,
				"next", "entrain table add "+shellWord(l.file.Path)+" "+shellWord(name))
		default:
			p.log.Info("added a table that the new configuration takes", "table", name)
		}
	}
}

// copies reports whether the file wants the table's existing rows.
func (l *loaded) copies(t entrain.TableName) bool {
	s := l.snapshot
	return s.Mode != pipeline.SnapshotNever && (s.Wants == nil || s.Wants(t.Schema, t.Name))
}
