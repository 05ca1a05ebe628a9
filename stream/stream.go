// Package stream is the contract of a durable stream between capture and
// delivery. A [Log] takes the changes of a source once and hands them to any
// number of sinks, each at its own pace: seen from the source it is a sink, seen
// from a sink it is a source, so that the engine is one loop used twice.
//
// Back ends live with their technology (connector/kafka, connector/nats,
// connector/redis); docs/adr/0009 says what they have in common.
package stream

import "github.com/entrainsync/entrain"

// The contract of a durable stream; it is in the root package, with all others.
type (
	// Log is [entrain.Log].
	Log = entrain.Log
	// Partition is [entrain.Partition].
	Partition = entrain.Partition
	// Assigner is [entrain.Assigner].
	Assigner = entrain.Assigner
	// Cursorer is [entrain.Cursorer].
	Cursorer = entrain.Cursorer
	// CursorKeeper is [entrain.CursorKeeper].
	CursorKeeper = entrain.CursorKeeper
	// Beginner is [entrain.Beginner].
	Beginner = entrain.Beginner
	// Rewinder is [entrain.Rewinder].
	Rewinder = entrain.Rewinder
	// Tracer is [entrain.Tracer].
	Tracer = entrain.Tracer
	// Milestoner is [entrain.Milestoner].
	Milestoner = entrain.Milestoner
	// Milestone is [entrain.Milestone].
	Milestone = entrain.Milestone
	// Keeper is [entrain.Keeper].
	Keeper = entrain.Keeper
)
