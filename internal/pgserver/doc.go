// Package pgserver runs throw-away PostgreSQL servers: for tests, for the demo
// and for benchmarks.
//
// [Find] looks for server programs on this machine, [Fetch] downloads them
// (pinned by checksum) into a cache, and [Start] makes a private server out of
// them, on loopback and in a folder of its own. PostgreSQL refuses to run as
// root, so root's servers run as an unprivileged user.
//
// A server must be given up by [Server.Remove] or one of the Stop methods. If
// the process that started it dies before that, a watchdog stops the server
// and removes the folder that Start made.
package pgserver
