// Package simulation runs the engine against ends that are state machines in memory,
// under a scheduler that decides everything that is not the engine's to decide: in
// which order operations take place, how each ends, when the process dies and how
// much time passes. One number, the seed, makes all of these choices, so that a run
// that breaks a promise can be had again, step by step.
//
// # What is real
//
// The engine (package pipeline), the fan-out (package fanout) and the packed stream
// (package stream/packed) are the product's code, unaltered. The source, the sinks,
// the store of positions, the store of keys and the sequence below the stream are
// simulated: what they hold durably survives the death of the process, the rest of
// memory does not.
//
// What is not here: copies of rows, changed shapes, orders of people, classes and their
// windows, logs that assign partitions, and two processes at once beyond what a dead one
// had sent. The clock of the process only goes forward, by steps from 1 ms to 16 s; that of
// the source, which is in commit times, jumps by up to an hour both ways.
//
// # How it works
//
// Every operation of the product on something outside of it waits for the scheduler.
// When all goroutines are blocked (testing/synctest knows), the scheduler takes one
// step: it lets one of the waiting operations happen, or fail before it had its effect,
// or fail behind it, or tear; or it commits a transaction at the source, lets time
// pass, stops the process or kills it. What a killed process had sent may still arrive
// later. The operations are sorted by who does what, so that the choice does not depend
// on the order in which goroutines ran.
//
// What is left of chance in the engine (several ready cases of a select, the order of a
// map) would show as two runs of one seed with different traces: a hash over all steps,
// the operations that waited at each, and what the ends held says whether two runs were
// the same.
//
// # What is checked
//
// After every step and at the end, against the history of the source:
//
//   - P1: nothing is lost. What is not at the sink was left out by the rules or is a dead
//     letter, and at rest the counters of the engine say so.
//   - P2: nothing is doubled where the sink holds the position or goes back to a mark;
//     elsewhere only what is behind the saved position, at the beginning of a session, and
//     nothing whose key is set or that the sink can read back.
//   - P3 and P4: one order, behind no dead letter of the same row; whole transactions where
//     the sink holds the position.
//   - P5: nothing stops by name that only met faults. A process that gives up because of a
//     fault is started again, whether or not it should have gone on by itself.
//   - P6: what was read and not given back is bounded, is given back once, and is not used
//     afterwards.
//   - P7: the source is told of nothing that a crash could lose, confirmed ≤ saved ≤ durable.
//   - P9: when faults end, everything is delivered within a bounded number of steps.
//
// A checker that never failed proves nothing: [Plants] are bugs that the simulated ends
// can be given, and the tests see each of them found.
package simulation
