package entrain

import (
	"context"
	"time"
)

// Source is a configured, reusable place that changes come from. Its
// constructor does not dial. Open may be called again after the Reader it
// returned before was closed.
type Source interface {
	// Open starts a session that delivers everything that was committed after
	// from. ctx bounds the opening only. A history that does not contain from
	// is a *[Stop] (P5).
	Open(ctx context.Context, from Position) (Reader, error)
}

// Reader is one session with a source. Read is called by one goroutine at a
// time; Ack may be called by another one meanwhile.
type Reader interface {
	// Read blocks until there is something to deliver or ctx ends, and
	// returns io.EOF when a bounded source is done. After an error other than
	// ctx's the session is over. When ctx ends, nothing is lost: a later Read
	// continues where this one was.
	Read(ctx context.Context) (*Batch, error)
	// Ack tells the source that everything through the position, which came
	// from a batch of this session, is durable. It is called in order and
	// does not wait for the source.
	Ack(ctx context.Context, through Position) error
	// Close ends the session after passing the last acknowledged position to
	// the source, and frees all it holds. It may be called twice, and while a
	// Read is blocked: that Read then returns an error.
	Close() error
}

// Batch is a run of events in commit order. Either it consists of whole
// transactions, and possibly the end of one whose first part came before, and
// Through is the position after its last event; or it is a part of one
// transaction only, and Through is zero. A batch without events only moves the
// position, if it has one (a filter can leave a part empty).
//
// The events and all they point to, except their tables and streams, are
// valid until Free is called: whoever keeps more must copy it.
type Batch struct {
	Events  []Event
	Through Position
	// Filtered counts the events that were captured in this run but are not
	// among Events any more, because a filter took them out (P1). A source
	// leaves it 0.
	Filtered int
	// Replay says that the events were delivered before and come once more because
	// somebody ordered that, whole transactions in their order; Through is where the
	// position is already, and stays. Dead letters that are replayed are no Replay.
	Replay bool
	// Bytes is the memory that the batch holds, for bounded queues (P6).
	Bytes int
	// Free, if not nil, hands the memory back to the source. The engine calls
	// it once, when no writer needs the batch any more.
	Free func()
}

// Sink is a configured, reusable place that changes go to. Its constructor
// does not dial.
type Sink interface {
	// Open starts a session; ctx bounds the opening only.
	Open(ctx context.Context) (Writer, error)
}

// Writer is one session with a sink, for one goroutine.
type Writer interface {
	// Write takes the events of b in order. A nil error means accepted, and
	// durable if b.Through is set: then everything accepted before is durable
	// too. It keeps nothing of b after it returned. Bad events are named by a
	// *[BatchError]. After any error the session is over, and what was not
	// durable has no effect; see [Sifter] for an exception.
	Write(ctx context.Context, b *Batch) error
	// Close ends the session; what is not durable is rolled back. It may be
	// called twice.
	Close() error
}

// Positioner is a Writer that keeps the position together with the data, in
// one transaction (P2).
type Positioner interface {
	// Position takes the position over for this session (other sessions of
	// the same pipeline can write no more) and returns it; zero if there is
	// none. It is called once, before the first Write.
	Position(ctx context.Context) (Position, error)
}

// Sifter is a Writer whose session goes on when it has refused events: the engine
// takes them out and delivers what is left of the batch step by step, in one
// transaction of the sink. It is a [Positioner], too.
type Sifter interface {
	// Rollback undoes what is not durable, after Write returned a *[BatchError] for a
	// batch before which all was durable. On an error the session is over.
	Rollback(ctx context.Context) error
	// Try accepts whole transactions that only change rows, and makes nothing durable:
	// that does the next Write with a Through, which is that of b. After a *[BatchError]
	// nothing of b has an effect, what was accepted before still has, and the session
	// goes on; after any other error it is over. What the error names is sure to be
	// refused if b is of one transaction, and else where to look first: it may name
	// nothing then. It keeps nothing of b.
	Try(ctx context.Context, b *Batch) error
}

// Gatherer is a Writer that is better off if it makes several writes durable at once,
// and whose readers may see what is not durable yet. The engine hands it whole
// transactions in batches without a Through, and acknowledges them when a later Write
// with the Through of the last made them durable: Gather after the last one that had
// it, at the latest, and before a transaction that comes in parts.
type Gatherer interface {
	// Gather is how long to wait, from when something was made durable to when the next
	// is; what comes later than that after it is made durable at once. It may change.
	Gather() time.Duration
}

// Marker is a Writer whose durable state can be told in a few bytes, which the
// engine stores with the position (a file: its size).
type Marker interface {
	// Mark describes what is durable now.
	Mark() []byte
	// Restore goes back to what mark described, undoing what was written
	// since. It is called before the first Write; nil means nothing was ever
	// stored.
	Restore(ctx context.Context, mark []byte) error
}

// Recaller is a [Writer] that keeps no position, but can read back which events it
// wrote. Of a write that a crash or an error interrupted nobody else knows whether it
// is there. The engine asks only where changes are to be deduplicated.
type Recaller interface {
	// Mark describes what is durable now: where Recall is to begin later. The
	// engine stores it with the position.
	Mark() []byte
	// Recall calls found with the ID of each event that is there whole and was
	// written after the mark was made, and maybe of some before it. It is called
	// before the first Write, and not from several goroutines. An error that is
	// [errors.ErrUnsupported] says that this writer cannot tell.
	Recall(ctx context.Context, mark []byte, found func(id []byte)) error
}

// Lag is how far a reader is behind its source.
type Lag struct {
	// Bytes of log between the last acknowledged position and the log's end,
	// as far as the source has told; -1 if it has no such measure.
	Bytes int64
	// Committed is the commit time of the last transaction read.
	Committed time.Time
	// Heard is when the source last sent anything, by our clock.
	Heard time.Time
}

// Lagger is a Reader that knows how far it is behind. Lag may be called from
// any goroutine.
type Lagger interface {
	Lag() Lag
}

// Watcher is a Writer that notices, while nothing is written, that its session is over:
// that its server is gone, say.
type Watcher interface {
	// Lost returns a channel that gets the error with which the session ended by itself, at
	// most one. It is never closed. It may be called from any goroutine.
	Lost() <-chan error
}

// Counter is a Reader or Writer that counts its work. Counts may be called from
// any goroutine, during and after the session; the names are lower case, the
// values only grow.
type Counter interface {
	Counts() map[string]int64
}

// Guarder is a Source that keeps something at its server which needs an eye
// while no session is open: a slot that holds back the log, say, while the sink
// cannot be reached.
type Guarder interface {
	// Guard looks after it and logs what a person should know, until ctx ends
	// (P7). It may be called again after it returned.
	Guard(ctx context.Context)
}

// Leaser is a Source that one process at a time reads.
type Leaser interface {
	// Lease waits until no other process has the lease or reads the source, and
	// keeps it until release is called or this process cannot be reached any more.
	// It returns an error when ctx ends.
	Lease(ctx context.Context) (release func(), err error)
}

// Noter is a Source that has something to remember which whoever takes over from
// it has to know, too.
type Noter interface {
	// KeepNotes says where. It is called at most once, before anything else.
	KeepNotes(n Notes)
}

// Notes are texts under names that are kept with a pipeline's state, where that is
// seen by every process that may run the pipeline. Their methods may be called from
// any goroutine while a session with the sink is open; at other times they may be
// an error.
type Notes interface {
	// LoadNote returns a text, "" if there is none.
	LoadNote(ctx context.Context, name string) (text string, err error)
	// SaveNote returns when the text is durable; "" removes it. What a process saves
	// that another one has taken over from is not seen by that one; it is the stop
	// fenced where that is known.
	SaveNote(ctx context.Context, name, text string) error
}

// Bounder is a Source that can end by itself.
type Bounder interface {
	// Until returns a copy of the source whose readers return io.EOF once
	// everything up to the target was delivered: "now", which is resolved
	// when the first reader opens, or an offset in the source's own notation.
	// A target that cannot be read is an error.
	Until(target string) (Source, error)
}

// RowKeeper is a Sink that holds rows rather than events: a change that comes again,
// late, would put an old row in the place of a newer one.
type RowKeeper interface {
	// Gated reports whether the sink compares versions, and so takes changes in any
	// order.
	Gated() bool
}

// Teardowner is a Source or Sink that left something at its server.
type Teardowner interface {
	// Teardown lists what can be removed, in the order in which it should be.
	Teardown(ctx context.Context) ([]Removal, error)
}

// Removal is one thing that a teardown would remove.
type Removal struct {
	// What is removed, for people: `replication slot "entrain_shop" on db1`.
	What string
	// SQL does the same by hand.
	SQL string
	// Do removes it. Removing what is gone already is no error.
	Do func(ctx context.Context) error
}

// KeyStore remembers for a while which changes a sink has. It may be used from
// several goroutines. What it forgets is delivered twice after a crash, nothing else.
type KeyStore interface {
	// Values returns for each key its value, empty for one that is not there.
	Values(ctx context.Context, keys []string) ([]string, error)
	// Keep sets the keys to their values, and returns when the server has them all.
	Keep(ctx context.Context, keys, values []string) error
}
