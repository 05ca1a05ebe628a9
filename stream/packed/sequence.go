package packed

import (
	"context"
	"errors"
	"fmt"
)

var (
	// ErrFenced is wrapped by the errors of a [Tail] whose last message is another than the
	// caller named: somebody else has appended or removed.
	ErrFenced = errors.New("another writer has taken the stream over")
	// ErrFull is wrapped by the errors of a [Tail] that has no room for a message now.
	ErrFull = errors.New("the stream is full")
	// ErrDiskFull is an ErrFull that is about the disk and not about the stream's bound.
	ErrDiskFull = fmt.Errorf("%w", ErrFull)
)

// Backend has the sequences of a log, one a producer. It may be used from several
// goroutines. Errors of all its parts that a new session may not meet again are
// marked by entrain.Retryable.
type Backend interface {
	// Open returns the sequence of a producer, which is made if there is none. ctx
	// bounds the opening only.
	Open(ctx context.Context, producer string) (*Sequence, error)
	// Producers lists those that have a sequence.
	Producers(ctx context.Context) ([]string, error)
}

// Sequence is one session with the messages of one producer: a durable ordered
// sequence. Each message has a number, which grows; numbers of messages that were
// removed are not given out again. Its parts may be used from several goroutines.
type Sequence struct {
	// ID is made at random together with the sequence, so that one that was removed
	// and made anew has another.
	ID string
	// MessageBytes is the size of the largest message that it takes; at least 4 kB.
	MessageBytes int
	Tail         Tail
	History      History
	State        State
	// Watch waits until the session is over by itself, and returns why, or until ctx ends, and
	// returns nil. It is called by a writer; nil where writers meet it soon enough.
	Watch func(ctx context.Context) error
	// Look and Remove are the commands by which people see the message of a number, and
	// take it away; nil where others can write nothing.
	Look, Remove func(number uint64) string
	// Close ends the session. It may be called twice.
	Close func() error
}

// Message is one message of a sequence. The data is the receiver's.
type Message struct {
	Number uint64
	Data   []byte
}

// Tail is the end of a sequence that is written to.
type Tail interface {
	// Last returns the last message; one with the number 0 if there is none.
	Last(ctx context.Context) (Message, error)
	// Append adds messages behind the one with the number after, which must be the
	// last one (0: there is none), else the error wraps [ErrFenced]: the check and
	// the adding are one step. It returns how many are durable now, always the first
	// ones, and the number of the last of them; those of one call have consecutive
	// numbers and no other's between them. If there is no room for the next one the
	// error wraps [ErrFull]. After any other error it is not known what is there. The
	// messages are not kept.
	Append(ctx context.Context, after uint64, messages [][]byte) (n int, last uint64, err error)
	// Remove takes away the messages between two numbers, both excluded, the newest
	// first.
	Remove(ctx context.Context, after, before uint64) error
}

// History is what was written.
type History interface {
	// At returns the first message whose number is not below the given one; one
	// with the number 0 if there is none.
	At(ctx context.Context, number uint64) (Message, error)
	// Follow reads what comes behind a number, in order. ctx bounds the beginning
	// only.
	Follow(ctx context.Context, after uint64) (Follower, error)
	// Trim removes all messages through a number.
	Trim(ctx context.Context, through uint64) error
}

// Follower reads a sequence in order, for one goroutine. Messages that are
// removed meanwhile may be left out.
type Follower interface {
	// Next waits for the next message until ctx ends, after which it may be called
	// again. It holds no more than a few megabytes of messages in advance.
	Next(ctx context.Context) (Message, error)
	// Close ends it, also while Next waits in another goroutine, which returns an
	// error then. It may be called twice.
	Close() error
}

// State is what is kept beside the messages.
type State interface {
	// Stat measures the sequence.
	Stat(ctx context.Context) (Stat, error)
	// Values returns what was stored under names, by name.
	Values(ctx context.Context) (map[string][]byte, error)
	// Store stores a small value under a name of letters, digits and any of
	// "._-" durably; nil removes it. It works in a sequence that is full, too; where
	// even for that there is no room, on a disk, say, the error wraps [ErrFull].
	Store(ctx context.Context, name string, value []byte) error
}

// Stat is the size of a sequence.
type Stat struct {
	// First and Last are the numbers of its first and last message; 0 if it is
	// empty.
	First, Last uint64
	// Messages counts them, Bytes is the room they take.
	Messages uint64
	Bytes    int64
}
