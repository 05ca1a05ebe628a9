package main

import (
	"context"
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
func (l *loaded) trace(s entrain.DigestSession) (entrain.DigestSession, error) {
	if l.log == nil {
		return s, nil
	}
	tracer, traces := l.log.(stream.Tracer)
	reacher, reaches := s.(entrain.Reacher)
	if !traces || !reaches {
		return nil, usageError{fmt.Errorf("verify: behind a stream of type %s it cannot be told how far a sink has come in the source's log",
			l.file.Stream.Type)}
	}
	return &traced{s, reacher, tracer}, nil
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
