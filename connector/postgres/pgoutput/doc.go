// Package pgoutput decodes the messages of PostgreSQL's built-in logical
// decoding plug-in, protocol version 1, from bytes to structs. It knows no
// socket and keeps nothing between messages.
//
// Source of the format: PostgreSQL manual, "Logical Replication Message
// Formats" (chapter 55.9 in version 18).
package pgoutput
