package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/pipeline"
)

// desk answers for the engine at work, which a reload replaces. Two engines
// share the state of tables: orders reach only one that has not been retired, and
// retiring it waits for those under way.
type desk struct {
	name    string
	at      place // what is answered is about
	started time.Time

	mu     sync.Mutex
	engine engine // the one that was put last
	limits admin.Limits
	taking *taking
}

// taking is an engine's time of taking questions and orders.
type taking struct {
	ctx   context.Context
	end   context.CancelCauseFunc
	under sync.WaitGroup // questions and orders under way
}

var errRetired = errors.New("the engine is retired")

// put makes e the engine at work; the one before is retired.
func (d *desk) put(ctx context.Context, e engine) {
	t := &taking{}
	t.ctx, t.end = context.WithCancelCause(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.engine, d.taking = e, t
}

// watch sets the thresholds that the report tells of.
func (d *desk) watch(limits admin.Limits) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limits = limits
}

// retire ends what the engine was asked for and waits for its end. Afterwards
// only the status is answered, until another engine is put.
func (d *desk) retire() {
	d.mu.Lock()
	t := d.taking
	d.taking = nil
	d.mu.Unlock()
	if t != nil {
		t.end(errRetired)
		t.under.Wait()
	}
}

// Report implements admin.Engine.
func (d *desk) Report() admin.Report {
	d.mu.Lock()
	e, limits := d.engine, d.limits
	d.mu.Unlock()
	st := e.Status()
	st.Error = d.at.fillText(st.Error)
	r := admin.Report{Pipeline: d.name, PID: os.Getpid(), Started: d.started, Status: st}
	if f, ok := e.(*flow); ok {
		r.Sinks, r.DeliversOnly = f.Sinks(), f.capture == nil
		for i := range r.Sinks {
			r.Sinks[i].Failed = d.at.fillText(r.Sinks[i].Failed)
		}
	}
	r.Alerts = limits.Alerts(r)
	return r
}

// Tables implements admin.Engine.
func (d *desk) Tables(ctx context.Context) (tables []pipeline.TableStatus, err error) {
	err = d.with(ctx, func(ctx context.Context, e engine) error {
		tables, err = e.Tables(ctx)
		for i := range tables {
			tables[i].Reason = d.at.fillText(tables[i].Reason)
		}
		return err
	})
	return tables, err
}

// Schemas implements admin.Engine.
func (d *desk) Schemas() []pipeline.SchemaHistory {
	d.mu.Lock()
	e := d.engine
	d.mu.Unlock()
	return e.Schemas()
}

// Do implements admin.Engine.
func (d *desk) Do(ctx context.Context, o pipeline.Order) error {
	return d.with(ctx, func(ctx context.Context, e engine) error { return e.Do(ctx, o) })
}

// Letters implements admin.Engine.
func (d *desk) Letters(ctx context.Context) (views []json.RawMessage, err error) {
	err = d.with(ctx, func(ctx context.Context, e engine) error {
		all, err := e.Letters(ctx)
		if err == nil {
			views, err = viewLetters(all)
		}
		return err
	})
	return views, err
}

// Replay implements admin.Engine.
func (d *desk) Replay(ctx context.Context, r admin.Replay) (done json.RawMessage, err error) {
	err = d.with(ctx, func(ctx context.Context, e engine) error {
		f, ok := e.(*flow)
		if !ok {
			return stopNoStream()
		}
		all, err := f.replay(ctx, r)
		if err == nil {
			done, err = json.Marshal(all)
		}
		return err
	})
	return done, err
}

// with calls ask with the engine at work; the context ends with it.
func (d *desk) with(ctx context.Context, ask func(context.Context, engine) error) error {
	d.mu.Lock()
	e, t := d.engine, d.taking
	if t != nil {
		t.under.Add(1)
	}
	d.mu.Unlock()
	if t == nil {
		return d.at.fillStop(d.stopRestarts())
	}
	defer t.under.Done()
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.ctx, func() { cancel(errRetired) })()
	err := ask(asking, e)
	if err != nil && context.Cause(asking) == errRetired {
		err = d.stopRestarts()
	}
	return d.at.fillStop(err)
}

func (d *desk) stopRestarts() error {
	return &entrain.Stop{
		Code: "restarting",
		What: fmt.Sprintf("pipeline %s ends, or starts anew with a changed configuration", d.name),
		Next: "entrain status FILE   # then type the command again",
	}
}
