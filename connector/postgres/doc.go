// Package postgres captures changes from PostgreSQL's write-ahead log by
// pgoutput and applies changes to PostgreSQL exactly once.
package postgres
