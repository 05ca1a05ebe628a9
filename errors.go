package entrain

import (
	"errors"
	"fmt"
)

// ErrDisconnected is wrapped by errors that mean: the other side went away.
var ErrDisconnected = errors.New("disconnected")

// Retryable marks err as one that a new session may not meet again: a lost
// connection, a server that restarts, a deadlock. The connector that knows the
// server's codes decides. A nil err stays nil.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return &retryableError{err}
}

// IsRetryable reports whether err, or an error it wraps, was marked by
// [Retryable] or is [ErrDisconnected]. A *[Stop] in the chain is final.
func IsRetryable(err error) bool {
	var stop *Stop
	if errors.As(err, &stop) {
		return false
	}
	var r *retryableError
	return errors.As(err, &r) || errors.Is(err, ErrDisconnected)
}

type retryableError struct{ error }

func (e *retryableError) Unwrap() error { return e.error }

// Stop is a named stop: a state that no retry mends and in which going on
// could lose or double something (P5). It says what happened, why, and what to
// type next.
type Stop struct {
	// Code is the stop's stable name: lower case with underscores.
	Code string
	// What happened, naming table and position where there are any.
	What string
	// Why it can have happened, or why going on would be wrong.
	Why string
	// Next is the exact command or SQL that leads on.
	Next string
	// Data reports that an event was refused, not that the environment is
	// broken.
	Data bool
	// Lost reports that the source has no longer what follows the position: only
	// copying all rows anew leads on.
	Lost bool
	// Table is set by a sink if the stop is about that one table, with the name
	// under which its events came, and others could go on.
	Table *Table
	// Err is the cause, if there is one.
	Err error
}

// Error returns the three answers in one line.
func (s *Stop) Error() string {
	msg := s.Code + ": " + s.What
	if s.Err != nil {
		msg += ": " + s.Err.Error()
	}
	if s.Why != "" {
		msg += "; " + s.Why
	}
	if s.Next != "" {
		msg += "; next: " + s.Next
	}
	return msg
}

// Unwrap returns the cause.
func (s *Stop) Unwrap() error { return s.Err }

// Unreachable is a server that took no session: it is down or elsewhere, or it
// refuses the role. Unlike a [Stop] that may pass: what [IsRetryable] says of the
// cause holds.
type Unreachable struct {
	// Why it can be so.
	Why string
	// Next is the command that tries the same by hand.
	Next string
	// Err is the cause. It says what was tried and what came of it.
	Err error
}

// Error returns what the cause says.
func (u *Unreachable) Error() string { return u.Err.Error() }

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.Err }

// BatchError names the events of a batch that a writer could not apply.
type BatchError struct {
	Failed []FailedEvent
}

// FailedEvent is one event that was refused.
type FailedEvent struct {
	// ID is the event's id, Table the table's name for people.
	ID, Table string
	Op        Op
	Err       error
}

// Error names the first failed event and counts the others.
func (e *BatchError) Error() string {
	if len(e.Failed) == 0 {
		return "batch refused"
	}
	f := e.Failed[0]
	msg := fmt.Sprintf("%s of %s (event %s): %v", f.Op, f.Table, f.ID, f.Err)
	if n := len(e.Failed) - 1; n > 0 {
		msg += fmt.Sprintf(" (and %d more)", n)
	}
	return msg
}

// Unwrap returns the causes.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}
