// Package throwaway runs private servers of any kind for tests, the demo and
// benchmarks: what [github.com/entrainsync/entrain/internal/pgserver],
// kafkaserver and redisserver have in common.
//
// [Artifact] is a download that is pinned by checksum and kept in a cache
// outside the work tree; [Start] runs a [Program] in a folder of its own on
// loopback, as an unprivileged user if we are root. A server is given up by
// [Server.Remove]. If the process that started it dies before that, a watchdog
// ends the server and removes the folder that Start made.
package throwaway
