// Package versiongate decides, purely, how changes pass the version gate of the
// PostgreSQL sink, and has the SQL for it: see docs/gate.md and ADR 0013. It does no
// I/O.
//
// The gate remembers the version of each row that it let a change pass to, in
// entrain.row_version, and the greatest version of all: the mark. A change above the
// mark is in order and passes without a compare. One at or below it comes late, by a
// replay or out of order, and is compared with its row's version inside the statement
// that applies it; what is older goes to entrain.reconciliation.
package versiongate
