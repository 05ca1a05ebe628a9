// Package entrain is the vocabulary of entrain: what a change is, what a
// source and a sink must do, and what the whole promises. It imports only the
// standard library; every other package builds on it.
//
// A [Source] opens a [Reader] at a [Position]; the reader returns each
// [Batch] of [Event] values in commit order. A [Sink] opens a [Writer] that
// makes batches durable. Package pipeline runs one against the other.
//
// # Promises
//
// Code that upholds a promise cites it by number; every test names the one it
// proves.
//
//	P1  No silent loss. captured = applied + deduplicated + filtered + parked +
//	    dead-lettered, exported as counters, exact at rest.
//	P2  No duplicate effect at a sink that can hold our position in its own
//	    transaction; elsewhere at least once, with a stable event id.
//	P3  Per-key order, always.
//	P4  A source transaction becomes visible whole at a transactional sink.
//	P5  A broken history (slot lost or recreated, log purged, other server,
//	    corrupt state) is a named stop that prints the way back, never a
//	    silent jump.
//	P6  Memory and disk are bounded whatever the transaction, row or backlog.
//	P7  The source is kept safe: status is sent on time whatever the sink
//	    does; the slot is guarded.
//	P8  Masked data never leaves raw: not in logs, errors, metrics, dead
//	    letters or spill files.
//	P9  When a fault ends, lag returns to normal without hand work.
package entrain
