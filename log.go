package entrain

import (
	"context"
	"time"
)

// Log is a durable stream. Its methods may be called from several goroutines;
// writers and readers are for one goroutine each, as everywhere.
//
// The [Sink] is its writing end. Its writer is an [Positioner]:
// the source's position is stored in the log in the same step as the events, and
// taking it over fences every older writer of the same producer. Write returns
// when the events are as durable as the log makes them. A log that is full is no
// error: Write waits until there is room or its context ends, and nothing is
// dropped.
type Log interface {
	Sink
	// Partitions lists the log's partitions as they are now. The events of one
	// partition have an order, those of two have none.
	Partitions(ctx context.Context) ([]Partition, error)
	// Read returns the source that reads one partition. Its positions say how far
	// the partition was read; the incarnation is the log's, so that a log that was
	// made anew is a [Stop] (stream_recreated), as a position is whose
	// successor the log has no longer (stream_overrun). The zero position is the
	// partition's very beginning: if that was removed already, it is the latter
	// stop, too.
	//
	// Events are as they were written, with their transactions and versions; a
	// batch ends where a source transaction does, or is a part of one.
	// Acknowledged positions are kept in the log under the cursor's name, for
	// retention and for people: what a sink has is for the sink to say. A source without
	// a cursor leaves nothing in the log, and is not to be acknowledged.
	Read(cursor string, p Partition) Source
}

// Partition names one ordered part of a log: a topic and a number for Kafka, a
// producer's name for logs that keep one sequence a producer.
type Partition string

// Undivided is a Sink that one partition of a stream can feed, and no second one.
type Undivided interface {
	// Undivided is why, for people.
	Undivided() string
}

// Assigner is a Log that spreads its partitions over the processes that share a
// cursor.
type Assigner interface {
	// Assign takes part under the cursor's name until ctx ends. For every partition
	// that this process is given, it runs work, whose context ends when the
	// partition is taken away again; it waits for work to return, since another
	// process goes on then. An error of work ends the assignment and is returned.
	Assign(ctx context.Context, cursor string, work func(ctx context.Context, p Partition) error) error
}

// Cursorer is a Log that knows all cursors. One that removes what all have read
// holds back what the named ones have not. Cursors is called before anything else,
// and whatever else the log knows of cursors is forgotten then.
type Cursorer interface {
	Cursors(names []string)
}

// CursorKeeper is a Log that tells what readers have acknowledged.
type CursorKeeper interface {
	// CursorAt returns the last position that was stored under the cursor's name, which
	// may be a little before the last one that was acknowledged; zero if none was.
	CursorAt(ctx context.Context, cursor string, p Partition) (Position, error)
}

// Beginner is a Log in which a cursor can begin though the beginning is gone.
type Beginner interface {
	// Begin writes the definitions of tables, in the shape that sinks see, and has the
	// cursor begin with them where it would be the stop stream_overrun otherwise; a cursor
	// that lacks nothing goes on as ever. The caller has all rows of these tables
	// delivered behind that. Until the first row of a table comes, the cursor's changes of
	// it are as those of a table that is being copied. It needs an open writer.
	Begin(ctx context.Context, cursor string, tables []ChunkTable) error
}

// Rewinder is a Log that can be read once more. Its sources are [Bounder]s that end at
// one of their positions, too, by its offset.
type Rewinder interface {
	// Rewind returns a position behind which all of the partition's events are that were
	// written at t or later, of those that it still has; the zero time is for all of
	// them. It may be much earlier than t. It is whole if none of them was removed; else
	// nobody knows.
	Rewind(ctx context.Context, p Partition, t time.Time) (from Position, whole bool, err error)
}

// Tracer is a Log whose positions tell what the source's position was there.
type Tracer interface {
	// SourcePosition returns it; false if the position does not tell.
	SourcePosition(at Position) (Position, bool)
}

// Milestoner is a Log whose positions do not tell the source's: that is known of milestones.
type Milestoner interface {
	// Milestone looks where the source's position is now and where the partitions end,
	// which is behind everything up to that position.
	Milestone(ctx context.Context) (Milestone, error)
}

// Milestone is a place in all partitions of a log.
type Milestone struct {
	// Source is a position of the source; zero before anything was written. All that
	// comes up to it stands in the partitions before the milestone.
	Source Position
	// Partitions are those that the log had.
	Partitions []Partition
	// Passed reports whether a sink that has read the partition up to the position
	// lacks nothing that stands there before the milestone. The zero position is the
	// beginning.
	Passed func(ctx context.Context, p Partition, at Position) (bool, error)
}

// Keeper is a Log that keeps what the capture has to remember beside the events,
// so that a process on another machine can take the capture over. Its methods may
// be called beside the writer's, from any goroutine, after the writer's Position.
type Keeper interface {
	// LoadValues returns all values by key.
	LoadValues(ctx context.Context) (map[string][]byte, error)
	// SaveValues stores values one after the other, in the order of their keys, and
	// returns when they are durable. What a process stores that is fenced is not seen
	// by its successor.
	SaveValues(ctx context.Context, values map[string][]byte) error
}
