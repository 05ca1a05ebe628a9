package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
)

// fill has a sink begin whose changes the stream has no longer: the rows of all tables
// are delivered once more, to all sinks, and this one begins with them.
func (f *flow) fill(ctx context.Context, o pipeline.Order) error {
	cursors, known := f.cursors[o.Sink]
	beginner, begins := f.log.(stream.Beginner)
	switch {
	case o.Do != pipeline.OrderRefresh || o.Table != "" || o.Where != "":
		return errors.New("a sink begins with the rows of all tables: without a table and a condition")
	case !known:
		return fmt.Errorf("the pipeline has no sink %q, only %q", o.Sink, slices.Sorted(maps.Keys(f.cursors)))
	case !begins:
		return stopNoBeginning(o.Sink)
	}
	tables, err := f.capture.Definitions(ctx)
	if err == nil {
		err = f.refreshHeld(ctx)
	}
	for _, cursor := range cursors {
		if err == nil {
			err = beginner.Begin(ctx, cursor, tables)
		}
	}
	if err != nil || len(tables) == 0 {
		return err
	}
	return f.capture.Do(ctx, pipeline.Order{Do: pipeline.OrderResume})
}

// refreshHeld orders the rows of all tables, of which none is to come before the sink
// has begun. What a process that was killed has ordered so stays.
func (f *flow) refreshHeld(ctx context.Context) error {
	states, err := f.capture.Tables(ctx)
	if err != nil {
		return err
	}
	for _, st := range states {
		if st.Held {
			continue
		}
		if err := f.capture.Do(ctx, pipeline.Order{Do: pipeline.OrderRefresh, Table: st.Table, Held: true}); err != nil {
			return fmt.Errorf("table %s: %w", st.Table, err)
		}
	}
	return nil
}

func stopNoBeginning(sink string) error {
	return &entrain.Stop{
		Code: "no_beginning",
		What: fmt.Sprintf("sink %s cannot begin in the middle of this kind of stream", sink),
		Why:  "the stream keeps no place for a sink that has read nothing",
		Next: "give the sink a pipeline of its own, in another file with another name",
	}
}
