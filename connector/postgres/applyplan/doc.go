// Package applyplan decides in which order, and in how few statements, the
// events of a batch can be applied to a database so that the result is the one
// that applying them one by one, in source order, would have. It is pure: no
// I/O, no clock, no goroutine. Running a plan is somebody else's work.
//
// A batch falls apart into units that do not touch each other: the tables that
// foreign keys connect are one unit. A unit is applied in one of three ways,
// see [Mode]; the fast one makes one net operation per key, and then groups of
// them commute: deletes from child to parent, updates, inserts from parent to
// child. Key changes and truncates are barriers inside their unit.
//
// Grouping can run into a violation that source order would not have met (two
// rows that swap a unique value, a row that points to one which comes later).
// The database detects those; the caller then undoes the unit and steps down
// to [Planner.Runs] and [Planner.Rows].
package applyplan
