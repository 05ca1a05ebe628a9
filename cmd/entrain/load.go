package main

import (
	"slices"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/transform"
)

// loaded is a pipeline file with its ends built, nothing dialled.
type loaded struct {
	file   *config.File
	source entrain.Source
	sink   entrain.Sink
	// transform is nil if the file has no rules.
	transform func(*entrain.Batch) (*entrain.Batch, error)
	rules     *transform.Transform // the same
	snapshot  pipeline.Snapshot
	bounded   bool // the source ends by itself
}

// load reads a pipeline file and builds what it describes. Its errors are
// mistakes in the file.
func (p *program) load(path string) (*loaded, error) {
	file, err := p.loadFile(path)
	if err != nil {
		return nil, err
	}
	l := &loaded{file: file}
	if l.snapshot, err = snapshotOf(file); err != nil {
		return nil, err
	}
	env := connector.Env{Pipeline: file.Name, Log: p.log, Copies: copiesOf(file, l.snapshot),
		Standalone: l.snapshot.Mode == pipeline.SnapshotOnly}
	if l.source, err = buildSource(env, file); err != nil {
		return nil, file.SourceError(err)
	}
	if l.sink, err = buildSink(env, file); err != nil {
		return nil, file.SinkError(err)
	}
	if len(file.Transform) == 0 {
		return l, nil
	}
	rules, err := transform.New(file.Transform)
	if err != nil {
		return nil, file.TransformError(err)
	}
	l.rules, l.transform, l.snapshot.TransformTable, l.snapshot.Rules = rules, rules.Apply, rules.Table, rules.Rule
	return l, nil
}

// snapshotOf is the snapshot section as the engine takes it.
func snapshotOf(file *config.File) (pipeline.Snapshot, error) {
	s := pipeline.Snapshot{Parallel: file.Snapshot.Parallel, PartRows: file.Snapshot.ChunkRows}
	switch file.Snapshot.Mode {
	case "initial":
		s.Mode = pipeline.SnapshotInitial
	case "only":
		s.Mode = pipeline.SnapshotOnly
	case "when_needed":
		s.Mode = pipeline.SnapshotWhenNeeded
	}
	var err error
	s.Wants, err = file.Snapshot.Tables.Matcher()
	return s, err
}

// copiesOf chooses the tables whose existing rows a run would copy: those of the
// file that the state does not say to have theirs; nil for none. A state that
// cannot be read now says nothing, and run says why.
func copiesOf(file *config.File, s pipeline.Snapshot) func(schema, name string) bool {
	if s.Mode == pipeline.SnapshotNever {
		return nil
	}
	ledger, at, err := store.Peek(file.State.Dir, file.Name)
	begun := !at.Position.IsZero() && ledger.From.IsZero() && len(ledger.Tables) == 0
	if err == nil && (ledger.Complete || begun) {
		return nil
	}
	return func(schema, name string) bool {
		copied := func(t pipeline.CopiedTable) bool { return t.Schema == schema && t.Name == name }
		return (s.Wants == nil || s.Wants(schema, name)) && !slices.ContainsFunc(ledger.Tables, copied)
	}
}

// loadFile reads a pipeline file; what is said from now on is about it.
func (p *program) loadFile(path string) (*config.File, error) {
	file, err := config.Load(path, p.env)
	if err != nil {
		return nil, err
	}
	p.place = place{file: path, state: store.Folder(file.State.Dir, file.Name)}
	return file, nil
}

func buildSource(env connector.Env, file *config.File) (entrain.Source, error) {
	typ, decode := file.Source()
	spec, err := all.Registry().Source(typ)
	if err != nil {
		return nil, err
	}
	return spec.Source(env, decode)
}

func buildSink(env connector.Env, file *config.File) (entrain.Sink, error) {
	typ, decode := file.Sink()
	spec, err := all.Registry().Sink(typ)
	if err != nil {
		return nil, err
	}
	return spec.Sink(env, decode)
}
