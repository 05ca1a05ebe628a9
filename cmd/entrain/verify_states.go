package main

import (
	"context"
	"errors"

	"github.com/entrainsync/entrain/internal/admin"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
)

// states are of the tables, schema.table at the source, of which the sink has not,
// on purpose, what the source has.
type states map[string]string

// of is why a table is not compared; empty if it is.
func (s states) of(schema, name string) string { return s[schema+"."+name] }

// states asks the process that runs the pipeline, else the state. Where neither can
// be asked the log says so, and nothing is known of any table.
func (p *program) states(ctx context.Context, l *loaded) states {
	of, err := l.askStates(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		of, err = l.peekStates()
	}
	if err != nil {
		p.log.Warn("which tables are paused, failed or being copied is not known: all are compared", "error", err)
	}
	return of
}

func (l *loaded) askStates(ctx context.Context) (states, error) {
	folder := store.Folder(l.file.State.Dir, l.file.Name)
	report, err := admin.Ask(ctx, folder)
	if err != nil {
		return nil, err
	}
	of := states{}
	if s := report.Status.Snapshot; s != nil && !s.Done {
		for _, t := range s.Tables {
			if t.State != "copied" {
				of[t.Table] = string(pipeline.TableCopying)
			}
		}
	}
	if len(report.Status.Tables) == 0 {
		return of, nil // all stream
	}
	tables, err := admin.Tables(ctx, folder)
	for _, t := range tables {
		of.put(t)
	}
	return of, err
}

// peekStates is for a pipeline that does not run.
func (l *loaded) peekStates() (states, error) {
	lives, err := store.PeekTables(l.file.State.Dir, l.file.Name)
	of := states{}
	for _, t := range lives {
		name := t.Schema + "." + t.Name
		of.put(pipeline.TableStatus{Table: name, State: t.State, Refresh: t.Refresh, Code: t.Code})
	}
	return of, err
}

// put notes a table unless the sink should have it. While its rows are delivered
// once more it is as it was: a streaming one.
func (s states) put(t pipeline.TableStatus) {
	switch {
	case t.Refresh || t.State == pipeline.TableStreaming:
	case t.State == pipeline.TableFailed && t.Code != "":
		s[t.Table] = string(t.State) + " (" + t.Code + ")"
	default:
		s[t.Table] = string(t.State)
	}
}
