package entrain

import (
	"context"
	"time"
)

// DeadLetter is an event that a sink refused, or that came behind one, as it is
// kept until a person has looked at it.
type DeadLetter struct {
	// ID is the event's: see [Event.ID].
	ID string `json:"id"`
	// Table for people; empty if the event is about none.
	Table string `json:"table,omitempty"`
	// Op is the operation's name.
	Op string `json:"op"`
	// Class is the code of the stop, or the kind of the error, with which the sink
	// refused the event, Reason its text. Both are empty if it did not refuse this one.
	Class  string `json:"class,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Behind is the id of the event because of which this one was parked, too.
	Behind string `json:"behind,omitempty"`
	// Attempts is how often the sink refused it.
	Attempts int `json:"attempts"`
	// First is when it was refused first, Parked when it was given up.
	First  time.Time `json:"first"`
	Parked time.Time `json:"parked"`
	// Body is the event and the shape of its table, as JSON.
	Body []byte `json:"-"`
}

// LetterKeeper is a [Sink] that can keep the dead letters of its pipeline at its
// server. It may be used from several goroutines, beside a session. A call returns
// when what it did survives a crash.
type LetterKeeper interface {
	// Letters returns all of the pipeline's, in any order.
	Letters(ctx context.Context) ([]DeadLetter, error)
	// KeepLetters adds some, all or none. One whose event is there already is left as
	// it is.
	KeepLetters(ctx context.Context, letters []DeadLetter) error
	// DropLetters removes those of the events. One that is not there is no error.
	DropLetters(ctx context.Context, ids []string) error
}

// LateKeeper is a [Sink] that keeps changes which came too late to be applied in a queue
// beside its rows, durably before its position passes them.
type LateKeeper interface {
	// ForwardLate passes the oldest changes of the pipeline's queue, at most so many, to
	// keep and removes them once that has returned nil; it returns how many. A crash in
	// between passes them on again, under the same ids: a letter's ID is the event's, "@"
	// and a digest of the row's key, its Class why the change was too late ("stale",
	// "partial", "missing"). While another process does so, it returns 0. It may be called
	// beside a session.
	ForwardLate(ctx context.Context, most int, keep func(context.Context, []DeadLetter) error) (int, error)
}

// LetterHost is a [Sink] or [Log] at whose servers the dead letters of any sink can
// be kept, in a place that the user names.
type LetterHost interface {
	// LetterBox checks the place; it does not dial.
	LetterBox(in LetterPlace) (LetterBox, error)
}

// LetterPlace says where dead letters are kept, and whose.
type LetterPlace struct {
	// Name of the place, such as a topic's.
	Name string
	// Pipeline is whose letters they are. Others may keep theirs in the same place.
	Pipeline string
	// Deliveries of the pipeline, as far as they are known before it runs: see
	// [LetterBox.Keeper].
	Deliveries []string
}

// LetterBox is a place of dead letters. It may be used from several goroutines.
type LetterBox interface {
	// Keeper keeps the letters of one delivery of the pipeline: its name is that of
	// the pipeline, or begins with that and a colon.
	Keeper(delivery string) LetterKeeper
}
