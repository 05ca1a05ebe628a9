// Package digest sums up the rows of a table by SQL: what capture and apply have
// in common when both ends are compared. It only reads.
//
// A row is its columns in the form of the server's record type, which tells NULL
// from an empty text and reads as the log does: ROW(a, b)::text. Its hash is 64
// bits of that text; rows of a bucket or of a key are the sum of their hashes,
// in which order does not count but number does.
package digest
