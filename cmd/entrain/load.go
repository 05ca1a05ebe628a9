package main

import (
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
}

// load reads a pipeline file and builds what it describes. Its errors are
// mistakes in the file.
func (p *program) load(path string) (*loaded, error) {
	file, err := p.loadFile(path)
	if err != nil {
		return nil, err
	}
	l := &loaded{file: file}
	env := connector.Env{Pipeline: file.Name, Log: p.log}
	if l.source, err = buildSource(env, file); err != nil {
		return nil, file.SourceError(err)
	}
	if l.sink, err = buildSink(env, file); err != nil {
		return nil, file.SinkError(err)
	}
	if l.snapshot, err = snapshotOf(file); err != nil {
		return nil, err
	}
	if len(file.Transform) == 0 {
		return l, nil
	}
	rules, err := transform.New(file.Transform)
	if err != nil {
		return nil, file.TransformError(err)
	}
	l.rules, l.transform, l.snapshot.TransformTable = rules, rules.Apply, rules.Table
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
	}
	var err error
	s.Wants, err = file.Snapshot.Tables.Matcher()
	return s, err
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
