package main

import (
	"time"

	"github.com/entrainsync/entrain/pipeline"
)

// retry is the file's section as the engine takes it.
func (l *loaded) retry() pipeline.Retry {
	r := l.file.Retry
	return pipeline.Retry{First: time.Duration(r.BackoffBaseMS) * time.Millisecond, Most: time.Duration(r.BackoffMaxMS) * time.Millisecond,
		Steady: r.Jitter != nil && !*r.Jitter, Attempt: time.Duration(r.AttemptTimeoutMS) * time.Millisecond}
}

// circuit is the breaker of a delivery; nil if the file has none.
func (l *loaded) circuit() *pipeline.Circuit {
	c := l.file.Retry.CircuitBreaker
	if c == nil {
		return nil
	}
	return pipeline.NewCircuit(pipeline.CircuitRules{Failures: c.Failures, Open: time.Duration(c.OpenMS) * time.Millisecond})
}
