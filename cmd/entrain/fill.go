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
	cursor, known := f.cursors[o.Sink]
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
	if err != nil {
		return err
	}
	if err := beginner.Begin(ctx, cursor, tables); err != nil {
		return err
	}
	states, err := f.capture.Tables(ctx)
	for _, st := range states {
		err = errors.Join(err, f.capture.Do(ctx, pipeline.Order{Do: pipeline.OrderRefresh, Table: st.Table}))
	}
	return err
}

func stopNoBeginning(sink string) error {
	return &entrain.Stop{
		Code: "no_beginning",
		What: fmt.Sprintf("sink %s cannot begin in the middle of this kind of stream", sink),
		Why:  "the stream keeps no place for a sink that has read nothing",
		Next: "give the sink a pipeline of its own, in another file with another name",
	}
}
