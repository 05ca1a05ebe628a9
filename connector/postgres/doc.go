// Package postgres captures changes from PostgreSQL's write-ahead log by
// pgoutput and applies changes to PostgreSQL exactly once.
//
// It is the door: what a program needs is here, and what stands behind it has a
// room of its own. Package capture reads the log, package apply writes to the
// target, both by the connections of package dial; neither knows the other.
//
// Connections: a URL is read as libpq reads it, at the beginning of each session,
// so that a password file or certificates that have changed are taken up. Without
// an sslmode word, hosts other than loopback and Unix sockets are spoken to over
// TLS only; a clear or md5 password goes to those only over TLS with a certificate
// that was checked, or if require_auth allows it. No error shows a password.
package postgres
