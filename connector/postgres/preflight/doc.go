// Package preflight examines the two servers of a pipeline before it runs. A
// few queries gather facts; from them small pure functions, one a code, judge
// what would go wrong and what exactly mends it. Nothing here dials, and
// nothing writes: the session that an examination is given is read-only.
//
// A code is added as one entry of sourceChecks or targetChecks, a section of
// docs/postgres.md with the code as its heading, and a case of the test that
// provokes the finding and executes its fix.
package preflight
