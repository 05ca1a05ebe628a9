package main

import (
	"slices"
	"sync"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/connector/all"
	"github.com/entrainsync/entrain/internal/config"
	"github.com/entrainsync/entrain/internal/metrics"
	"github.com/entrainsync/entrain/internal/store"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/transform"
)

// loaded is a pipeline file with its ends built, nothing dialled.
type loaded struct {
	file   *config.File
	source entrain.Source // nil if the file only delivers
	log    stream.Log     // nil without a stream
	sinks  []sinkEnd
	// transform is nil if the file has no rules.
	transform func(*entrain.Batch) (*entrain.Batch, error)
	rules     *transform.Transform // the same
	snapshot  pipeline.Snapshot
	contracts []config.ContractFile
	bounded   bool              // the source ends by itself
	letters   entrain.LetterBox // of dead_letter.topic; nil without one
	keys      entrain.KeyStore  // of deduplication, to be examined; nil without
	late      entrain.LetterBox // where changes go that came too late; nil if they stay
	half      half
	only      string       // the sink to deliver into; empty for all
	classed   *classMemory // of the sinks behind a stream
	building  sync.Mutex   // a section is decoded into one place
}

// sinkEnd is one sink of the file.
type sinkEnd struct {
	section *config.Section
	sink    entrain.Sink
	env     connector.Env
	class   string // of the tables that are delivered; empty for the main one
}

// load reads a pipeline file and builds what it describes. Its errors are
// mistakes in the file.
func (p *program) load(path string) (*loaded, error) { return p.loadAs(path, both) }

// loadAs is load for a process that does one half of what the file says.
func (p *program) loadAs(path string, h half) (*loaded, error) {
	l, err := p.loadEnds(path, h)
	if err != nil {
		return nil, err
	}
	return l, l.readContracts()
}

// loadEnds is loadAs without the contracts of tables.
func (p *program) loadEnds(path string, h half) (*loaded, error) {
	file, err := p.loadFile(path)
	if err != nil {
		return nil, err
	}
	at := p.place.get()
	at.half = h
	p.place.set(at)
	l := &loaded{file: file, half: h}
	if l.classed, err = p.recallClasses(file); err != nil {
		return nil, err
	}
	if l.snapshot, err = snapshotOf(file); err != nil {
		return nil, err
	}
	env := connector.Env{Pipeline: file.Name, Leased: h == captureOnly, State: store.Folder(file.State.Dir, file.Name), Log: p.log,
		Copies:     copiesOf(file, l.snapshot),
		Standalone: l.snapshot.Mode == pipeline.SnapshotOnly, Never: l.snapshot.Mode == pipeline.SnapshotNever}
	if err := l.build(env); err != nil {
		return nil, err
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
	p.place.set(place{file: path, state: store.Folder(file.State.Dir, file.Name)})
	return file, file.CheckMetrics(metrics.Known)
}

// build makes the ends that the file describes.
func (l *loaded) build(env connector.Env) (err error) {
	registry := all.Registry()
	if s := l.file.Source; s != nil {
		spec, err := registry.Source(s.Type)
		if err == nil {
			l.source, err = spec.Source(env, s.Decode)
		}
		if err != nil {
			return s.Place(err)
		}
	}
	if s := l.file.Stream; s != nil {
		spec, err := registry.Log(s.Type)
		if err == nil {
			l.log, err = spec.Log(env, s.Decode)
		}
		if err != nil {
			return s.Place(err)
		}
	}
	for _, s := range l.file.Sinks {
		end := sinkEnd{section: s, env: env}
		if l.log != nil {
			end.env.Pipeline = deliveryName(env.Pipeline, s.Name, "")
		}
		if end.sink, err = end.build(end.env); err != nil {
			return err
		}
		l.sinks = append(l.sinks, end)
	}
	if err := l.checkClasses(); err != nil {
		return err
	}
	l.nameCursors()
	seen, err := l.dedup(env.Pipeline)
	if err != nil {
		return err
	}
	if seen != nil {
		l.keys = seen.Store
	}
	if err := l.buildLetters(); err != nil {
		return err
	}
	return l.buildLate()
}

// nameCursors tells the stream of all sinks of the file, whoever delivers into
// them.
func (l *loaded) nameCursors() {
	cursorer, ok := l.log.(stream.Cursorer)
	if !ok || len(l.sinks) == 0 {
		return
	}
	var names []string
	for _, end := range l.reading() {
		names = append(names, l.cursor(end))
	}
	slices.Sort(names)
	cursorer.Cursors(names)
}

// build makes the sink, as one that belongs to the environment.
func (e *sinkEnd) build(env connector.Env) (entrain.Sink, error) {
	spec, err := all.Registry().Sink(e.section.Type)
	if err != nil {
		return nil, e.section.Place(err)
	}
	sink, err := spec.Sink(env, e.section.Decode)
	return sink, e.section.Place(err)
}
