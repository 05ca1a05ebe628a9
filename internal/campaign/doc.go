// Package campaign attacks the built binary on real servers while independent
// checkers watch. The command campaign runs its [Cases] whole and keeps the
// [Report] of each; the tests here run the same ones in small.
//
// A campaign is a load at the source (package-level type load), faults from
// outside (signals to the binary, killed servers, cut sessions, bad networks, full
// disks, failing system calls, clocks that jump) and checkers
// that trust none of entrain's code: a second slot with test_decoding, hash
// chains computed in SQL, a ledger whose total never changes, and a target
// that counts each change without a unique key. Every checker is shown to
// report planted faults, and the campaign as a whole to catch mutants of the
// data path; a checker that never failed proves nothing.
//
// The other tests are the named cases that need the whole program: sinks that
// refuse, hang or lock, foreign keys and unique values under every split of
// the batches, huge transactions under a memory bound, hostile identifiers,
// and what the command promises about signals and exit codes.
//
// The servers' versions come from ENTRAIN_TEST_PG; ENTRAIN_TEST_WIDE=1 makes
// the campaigns longer and the transactions larger, and ENTRAIN_TEST_SEED
// repeats the choices of an earlier campaign. With ENTRAIN_TEST_LEAST=1 the
// pipelines have the rights that docs/postgres.md prints; else they are
// superusers, except in the tests of these rights.
package campaign
