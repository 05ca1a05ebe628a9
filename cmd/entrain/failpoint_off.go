//go:build !failpoint

package main

import "github.com/entrainsync/entrain/pipeline"

// failpoint is nothing in the program as it is shipped; see failpoint.go.
func failpoint(string) func(pipeline.Point) error { return nil }
