package simulation

import "testing"

// Alone is [Run] for a program that is no test, a command of the stock binary, say. It
// may be called from several goroutines.
//
// A bubble is to be had of package testing only, by a T. One that belongs to no test has
// no place to report to, and needs none: what a run finds is in its report.
func Alone(c Config) Report { return Run(new(testing.T), c) }
