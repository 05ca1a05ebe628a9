// Package dependency says which transactions of one ordered stream may be
// executed side by side. It is pure: what a transaction touches comes in as
// hashes, what it has to wait for goes out as numbers.
//
// The promise that its caller needs: if every group executes after all groups
// up to its [Group.After] are committed, and groups commit in order, then the
// outcome is that of one group after the other. Equal hashes of different things
// cost parallelism, never correctness.
package dependency
