// Package natsserver runs throw-away NATS servers, processes of their own, of the
// last version before 2.12, which has no atomic batches. The tests run the present
// version inside themselves.
//
// [Obtain] builds the server's program into the cache from its released sources, which
// the go command checks; [Start] makes a server out of it, on loopback and in a folder
// of its own. A server must be given up by Remove. If the process that started it dies
// before that, a watchdog ends the server and removes the folder that Start made.
package natsserver
