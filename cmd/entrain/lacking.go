package main

import (
	"context"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline"
)

// lackingFrom has a capture say how tables are made that a sink behind its stream
// lacks, and deliver their rows once more, before the table is made: a crash in between
// leaves no table without its rows. That is ordered once an event at which the
// delivery stands, however often it is tried; what is behind it in the stream is still
// to come. It is nil without a capture.
func lackingFrom(capture *pipeline.Pipeline) func(context.Context, *entrain.Stop) (*entrain.ChunkTable, error) {
	if capture == nil {
		return nil
	}
	var one sync.Mutex // partitions of a sink come side by side
	ordered := map[string]bool{}
	return func(ctx context.Context, stop *entrain.Stop) (*entrain.ChunkTable, error) {
		one.Lock()
		defer one.Unlock()
		found, err := capture.Definition(ctx, stop.Table)
		if err != nil || found == nil || ordered[stop.What] {
			return found, err
		}
		if err := capture.Refresh(ctx, found.Table); err != nil {
			return nil, err
		}
		ordered[stop.What] = true
		return found, nil
	}
}
