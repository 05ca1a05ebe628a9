// Package redisserver runs throw-away Redis servers, version 7 or later, for
// tests and benchmarks.
//
// [Obtain] finds redis-server on this machine or fetches it, pinned by
// checksum, into the cache; [Start] makes a server out of it, on loopback and
// in a folder of its own, that has on disk what it acknowledged. A server must
// be given up by Remove. If the process that started it dies before that, a
// watchdog ends the server and removes the folder that Start made.
package redisserver
