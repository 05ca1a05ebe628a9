// Package entraintest shows that a connector keeps the contracts of package
// entrain, and has a source and a sink in memory for tests of everything else.
//
// # For connectors
//
// [TestSource] and [TestSink] are conformance suites in the manner of
// testing/fstest. A connector's own test fills a small struct of functions and
// hands it over:
//
//	func TestConformance(t *testing.T) {
//		entraintest.TestSink(t, entraintest.SinkHarness{
//			New:   func(t testing.TB) entrain.Sink { ... }, // on a fresh, empty target
//			Rows:  func(t testing.TB) entraintest.Rows { ... }, // read by other means
//			Keeps: entraintest.KeepsPosition,
//		})
//	}
//
// Both suites work on one table, [StandardTable]:
//
//	CREATE TABLE public.conformance (
//		id   bigint PRIMARY KEY,
//		name text,
//		body text,    -- large: at a PostgreSQL source it is TOASTed
//		n    numeric
//	)
//
// What shall happen is said in events of that table: a column that an UPDATE
// does not mention is [Unchanged] in After, and Before is set by deletes and by
// updates that change the key. [SQL] turns such an event into a statement.
// Every case of the suites was seen to fail: the package's tests run them
// against implementations with planted bugs.
//
// # For everything else
//
// [MemorySource] and [MemorySink] keep the contracts strictly and are harsh
// about mistakes of the other side: the source scribbles over a batch's memory
// when it is freed, the sink refuses to apply a change twice and remembers
// which events took effect in which order.
//
// [TestStream] is the suite for durable streams, package stream.
//
// The package imports the standard library and packages entrain and stream only.
package entraintest
