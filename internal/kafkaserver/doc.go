// Package kafkaserver runs throw-away Kafka brokers, one node in KRaft mode,
// for tests and benchmarks.
//
// [Obtain] finds Java and fetches the broker's libraries, pinned by checksum,
// into the cache; [Start] makes a broker out of them, on loopback and in a
// folder of its own. A broker must be given up by Remove. If the process that
// started it dies before that, a watchdog ends the broker and removes the
// folder that Start made.
package kafkaserver
