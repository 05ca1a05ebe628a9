// Package dial opens sessions with PostgreSQL servers and says what went wrong
// there. Its users are the rooms beside it; it knows none of them, nor what a
// pipeline is.
//
// A URL is read as libpq reads it, at the beginning of each session. Every
// session reads and writes values the same way, whatever the server has set;
// over a connection where somebody else could be asking, a password goes by
// SCRAM only (P8). Errors are marked by whether a new session may fare better.
package dial
