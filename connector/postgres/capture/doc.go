// Package capture reads the changes of a database from PostgreSQL's write-ahead
// log, by pgoutput and a replication slot.
//
// The way in: a [Source] opens a session (session.go), which makes or checks the
// publication (publication.go, published.go) and the slot (slot.go) and becomes a
// reader (reader.go). The way of a change: coalescer (coalesce.go), walStream
// (walstream.go), assembler (assemble.go, relations.go), batch (takebatch.go).
// Beside them run the feedback (feedback.go) and the watch over the slot
// (watch.go, heartbeat.go, probe.go). The named stops are in stops*.go.
//
// For passwords and TLS see package postgres, the door to this one.
package capture
