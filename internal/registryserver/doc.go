// Package registryserver runs throw-away schema registries for tests: Apicurio
// Registry in memory, which speaks Confluent's API.
//
// [Obtain] finds Java and fetches the registry, pinned by checksum, into the
// cache; [Start] makes a server out of it, on loopback and in a folder of its
// own. What it knows is gone when it stops. A server must be given up by Remove.
// If the process that started it dies before that, a watchdog ends the server
// and removes the folder that Start made.
package registryserver
