package postgres

import (
	"context"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/postgres/capture"
	"github.com/entrainsync/entrain/connector/postgres/snapshot"
)

// Source captures the changes of one database, and reads its tables as they
// were before. It implements entrain.Source, entrain.Snapshotter,
// entrain.Withdrawer, entrain.Chunker, entrain.TableAdder, entrain.Bounder, entrain.Guarder,
// entrain.Checker, entrain.Teardowner, entrain.Digester, entrain.Sequencer,
// entrain.Describer, entrain.TypeNamer and entrain.DDLScripter and may be used by several goroutines.
type Source struct{ *capture.Source }

// NewSource checks the configuration and returns the source; it does not dial.
func NewSource(cfg SourceConfig) (*Source, error) {
	src, err := capture.NewSource(cfg)
	if err != nil {
		return nil, err
	}
	return &Source{src}, nil
}

// buildSource builds a source from the source section of a pipeline file.
func buildSource(env connector.Env, decode connector.Decode) (entrain.Source, error) {
	src, err := capture.Build(env, decode)
	if err != nil {
		return nil, err
	}
	return &Source{src}, nil
}

// Until implements entrain.Bounder: "now" or an LSN such as 16/B374D848.
func (s *Source) Until(target string) (entrain.Source, error) {
	bounded, err := s.Bounded(target)
	if err != nil {
		return nil, err
	}
	return &Source{bounded}, nil
}

// Snapshot implements entrain.Snapshotter. Publication and slot are made as by
// Open from the zero position, unless the request is for a snapshot alone; the
// view itself takes one replication slot and one walsender while it is being
// opened, one session while it is open, and one for each part that is read.
func (s *Source) Snapshot(ctx context.Context, r entrain.SnapshotRequest) (entrain.Snapshot, error) {
	var e *capture.Export
	var err error
	if r.Standalone {
		e, err = s.ExportAlone(ctx)
	} else {
		e, err = s.Export(ctx, r.Making)
	}
	if err != nil {
		return nil, err
	}
	defer e.Close(ctx) // again, if it was not taken over
	wants := e.Wants
	if r.Wants != nil {
		wants = func(schema, name string) bool { return e.Wants(schema, name) && r.Wants(schema, name) }
	}
	snap, err := snapshot.Open(ctx, snapshot.Config{
		Server: e.Server, Version: e.Version, Exported: e.Snapshot, Taken: func() { e.Close(ctx) }, Stream: e.Stream, From: e.From, At: e.At,
		Publications: e.Publications, Unpublished: e.Unpublished, Wants: wants, Named: e.Named, Kind: e.Kind,
		PartRows: r.PartRows, MaxRow: e.MaxEventBytes,
	})
	if err != nil {
		return nil, err // and no nil of a type
	}
	return snap, nil
}
