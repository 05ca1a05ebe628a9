// Package snapshot reads the tables of a PostgreSQL database as they were at
// one moment of its history, which somebody else has exported.
//
// A holder session keeps the view for as long as the snapshot is open; each
// part of a table is read by a session that shares it. What a view does not
// protect from, commands that give a table other storage, is looked for before
// each part (docs/adr/0006).
//
// It also reads tables in chunks by their keys, each chunk at a moment of its
// own, while the log is being read: [Keyed].
package snapshot
