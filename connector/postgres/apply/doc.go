// Package apply writes changes to a PostgreSQL database and keeps the position
// there, in the same transaction, so that each is applied exactly once.
//
// A [Sink] opens a writer (writer.go), which takes the position over
// (position.go). A batch goes one of two ways: a few events at the tip in one
// round trip (tip.go), many in bulk by the plan of package applyplan (bulk.go,
// exec.go, copy.go). What the server refuses is done again in smaller steps
// (descent.go). What is known of the target's tables is the catalog (catalog.go);
// the statements are in sql.go and statements.go, the named stops in stops.go.
package apply
