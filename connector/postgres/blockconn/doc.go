// Package blockconn has connections whose calls block in the kernel instead of
// in Go's network poller. The poller is told of every segment that arrives and
// wakes a thread for it, whether somebody reads or not: for a server that
// sends each change by itself that costs both ends more than the bytes do. A
// process should have few of these: each holds an operating system thread
// while it waits. docs/adr/0005 has the figures.
package blockconn
