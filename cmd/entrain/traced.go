package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

// traced is a session with a sink behind a stream: what the sink keeps is a position
// of the stream, which tells the source's.
type traced struct {
	entrain.DigestSession
	reacher entrain.Reacher
	tracer  stream.Tracer
}

// trace makes the session's position the source's, if the file has a stream.
func (l *loaded) trace(s entrain.DigestSession, end *sinkEnd) (entrain.DigestSession, error) {
	if l.log == nil {
		return s, nil
	}
	reacher, reaches := s.(entrain.Reacher)
	if tracer, traces := l.log.(stream.Tracer); traces && reaches {
		return &traced{s, reacher, tracer}, nil
	}
	if marker, marks := l.log.(stream.Milestoner); marks && reaches {
		return &marked{DigestSession: s, marker: marker, open: l.opener(end), sessions: map[stream.Partition]entrain.DigestSession{}}, nil
	}
	return nil, usageError{fmt.Errorf("verify: behind a stream of type %s it cannot be told how far a sink has come in the source's log",
		l.file.Stream.Type)}
}

// Reached implements entrain.Reacher.
func (t *traced) Reached(ctx context.Context) (entrain.Position, error) {
	at, err := t.reacher.Reached(ctx)
	if err != nil || at.IsZero() {
		return at, err
	}
	source, known := t.tracer.SourcePosition(at)
	if !known {
		return entrain.Position{}, fmt.Errorf("the sink's position %q is none of the stream: the sink was fed without it before", at.Offset)
	}
	return source, nil
}

// marked is a session with a sink behind a stream of partitions: it has come as far
// as the last mark that its positions of all of them have passed.
type marked struct {
	entrain.DigestSession
	marker   stream.Milestoner
	open     func(ctx context.Context, p stream.Partition) (entrain.DigestSession, error)
	sessions map[stream.Partition]entrain.DigestSession // for positions only
	next     *stream.Milestone                          // not passed yet
	reached  entrain.Position
}

// opener returns what opens a session with the sink as it is for a partition.
func (l *loaded) opener(end *sinkEnd) func(ctx context.Context, p stream.Partition) (entrain.DigestSession, error) {
	return func(ctx context.Context, p stream.Partition) (entrain.DigestSession, error) {
		env := end.env
		env.Pipeline = deliveryName(l.file.Name, end.name(), p)
		sink, err := end.build(env)
		if err != nil {
			return nil, err
		}
		digester, ok := sink.(entrain.Digester)
		if !ok {
			return nil, fmt.Errorf("a sink of type %s has no position that can be read", end.section.Type)
		}
		return digester.Digest(ctx)
	}
}

// Reached implements entrain.Reacher. A mark that is waited for is kept: the end of
// a stream that flows would never be reached.
func (m *marked) Reached(ctx context.Context) (entrain.Position, error) {
	if m.next == nil {
		stone, err := m.marker.Milestone(ctx)
		if err != nil {
			return entrain.Position{}, err
		}
		m.next = &stone
	}
	for _, p := range m.next.Partitions {
		passed, err := m.passed(ctx, p)
		if err != nil {
			return entrain.Position{}, fmt.Errorf("partition %s: %w", p, err)
		}
		if !passed {
			return m.reached, nil
		}
	}
	m.reached, m.next = m.next.Source, nil
	return m.reached, nil
}

func (m *marked) passed(ctx context.Context, p stream.Partition) (bool, error) {
	session := m.sessions[p]
	if session == nil {
		var err error
		if session, err = m.open(ctx, p); err != nil {
			return false, err
		}
		m.sessions[p] = session
	}
	reacher, ok := session.(entrain.Reacher)
	if !ok {
		return false, errors.New("the sink keeps no position")
	}
	at, err := reacher.Reached(ctx)
	if err != nil {
		return false, err
	}
	return m.next.Passed(ctx, p, at)
}

// Close implements entrain.DigestSession.
func (m *marked) Close() error {
	err := m.DigestSession.Close()
	for _, s := range m.sessions {
		err = errors.Join(err, s.Close())
	}
	return err
}
