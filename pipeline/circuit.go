package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// CircuitRules say when a delivery pauses whose sink cannot be had.
type CircuitRules struct {
	// Failures in a row that open the circuit; at least 1.
	Failures int
	// Open is how long nothing is tried then.
	Open time.Duration
}

// Circuit is the breaker of one delivery: closed while the sink can be had; open, so
// that nothing is tried, after so many failures of the sink in a row; then half open:
// one batch is the probe that closes or opens it. What a sink says of single events is
// no failure. It outlives the pipelines of the delivery, of which one at a time has
// it; [Circuit.Status] may be called from any goroutine.
type Circuit struct {
	rules CircuitRules

	mu       sync.Mutex
	state    circuitState
	failures int       // in a row; state is closed if 0
	until    time.Time // when the next try is, of an open one
	opened   int64     // how often
}

type circuitState uint8

const (
	circuitClosed circuitState = iota
	circuitOpen
	circuitHalfOpen
)

var circuitNames = [...]string{"closed", "open", "half_open"}

// CircuitStatus is a breaker at one moment.
type CircuitStatus struct {
	// State: closed, open or half_open.
	State string `json:"state"`
	// Failures of the sink in a row.
	Failures int `json:"failures"`
	// Seconds until the next try, 0 unless the circuit is open.
	Seconds float64 `json:"seconds,omitempty"`
	// Opened is how often it was opened since the process began.
	Opened int64 `json:"opened"`
}

// NewCircuit returns a closed one.
func NewCircuit(r CircuitRules) *Circuit {
	r.Failures = max(1, r.Failures)
	return &Circuit{rules: r}
}

// fail counts a failure of the sink, and reports whether that opened the circuit.
func (c *Circuit) fail(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures++
	if c.state == circuitOpen || c.state == circuitClosed && c.failures < c.rules.Failures {
		return false
	}
	c.state, c.until = circuitOpen, now.Add(c.rules.Open)
	c.opened++
	return true
}

// succeed notes that the sink has something durably, and reports whether that closed
// the circuit.
func (c *Circuit) succeed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.state
	c.state, c.failures = circuitClosed, 0
	return was != circuitClosed
}

// probe makes an open circuit half open when its time is over, and returns how long
// that is from now if it is not.
func (c *Circuit) probe(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != circuitOpen {
		return 0
	}
	if wait := c.until.Sub(now); wait > 0 {
		return wait
	}
	c.state = circuitHalfOpen
	return 0
}

// left is how long nothing is tried from now on.
func (c *Circuit) left(now time.Time) time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != circuitOpen {
		return 0
	}
	return max(0, c.until.Sub(now))
}

// probes reports whether only one batch is to be tried.
func (c *Circuit) probes() bool {
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == circuitHalfOpen
}

// Status tells how the breaker is.
func (c *Circuit) Status(now time.Time) CircuitStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := CircuitStatus{State: circuitNames[c.state], Failures: c.failures, Opened: c.opened}
	if c.state == circuitOpen {
		s.Seconds = max(0, c.until.Sub(now).Seconds())
	}
	return s
}

// sinkError is what came from the sink.
type sinkError struct{ error }

func (e *sinkError) Unwrap() error { return e.error }

// fromSink marks an error as one that came from the sink.
func fromSink(err error) error {
	if err == nil {
		return nil
	}
	return &sinkError{err}
}

// count has the breaker know of what ended a session, if that is a sink that cannot
// be had: not what it said of events, nor a stop.
func (p *Pipeline) count(err error) {
	var sink *sinkError
	var batch *entrain.BatchError
	c := p.opt.Circuit
	if c == nil || !errors.As(err, &sink) || errors.As(err, &batch) || !entrain.IsRetryable(err) {
		return
	}
	if c.fail(time.Now()) {
		p.log.Error("the circuit is open: the sink failed again and again, and is left alone for a while", "failures", c.Status(time.Now()).Failures,
			"for", c.rules.Open, "error", err)
	}
}

// rest waits as long as the circuit is open; an error is that of ctx.
func (p *Pipeline) rest(ctx context.Context) error {
	c := p.opt.Circuit
	if c == nil {
		return nil
	}
	for {
		wait := c.probe(time.Now())
		if wait == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// reached notes that the sink has something durably.
func (p *Pipeline) reached() {
	if c := p.opt.Circuit; c != nil && c.succeed() {
		p.log.Info("the circuit is closed: the sink has taken a batch")
	}
}

// attempt has the sink take events within the time that it may take; take is its Write,
// or the like.
func (s *session) attempt(work context.Context, b *entrain.Batch, take func(context.Context, *entrain.Batch) error) error {
	limit := s.p.opt.Retry.Attempt
	if limit == 0 {
		return take(work, b)
	}
	ctx, cancel := context.WithTimeout(work, limit)
	defer cancel()
	err := take(ctx, b)
	if err != nil && ctx.Err() != nil && work.Err() == nil {
		// What the sink made of the time's end is not to be taken for what it says of
		// an event, or for a stop.
		return entrain.Retryable(fmt.Errorf("the sink did not take %d events within %s (retry.attempt_timeout_ms): %v", len(b.Events), limit, err))
	}
	return err
}
