package file

import (
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// The named stops of a regular file (P5). FILE and STATE in a command stand
// for the pipeline's file and its state folder; the command line puts them in.

func stopInUse(path string) error {
	return &entrain.Stop{
		Code: "file_in_use",
		What: fmt.Sprintf("the file %s is in use by another process or pipeline", path),
		Why:  "each writer cuts the file back to its own last position after a failure: two would destroy each other's lines",
		Next: fmt.Sprintf("set sink.path in FILE to a file of its own, or end the other one (fuser %s names it); then: entrain run FILE", quote(path)),
	}
}

func stopForeign(path string, size int64) error {
	return &entrain.Stop{
		Code: "file_foreign",
		What: fmt.Sprintf("the file %s has %d bytes, but this pipeline has never written to it", path, size),
		Why: "another pipeline may own it, and cuts it back to its own last position; " +
			"or this pipeline's state was removed, and nobody knows which lines are complete",
		Next: fmt.Sprintf("set another sink.path in FILE, or put the file aside: mv %s; entrain run FILE", aside(path)),
	}
}

func stopGone(path string, cause error) error {
	return &entrain.Stop{
		Code: "file_replaced",
		What: fmt.Sprintf("the file %s is gone", path),
		Why:  "it was moved or deleted by something other than entrain; lines that were confirmed to the source were in it",
		Next: "put the file back as it was; or go on in a new one: " + newState,
		Err:  cause,
	}
}

func stopReplaced(path string) error {
	return &entrain.Stop{
		Code: "file_replaced",
		What: fmt.Sprintf("the file %s is another file than the one that was written to", path),
		Why:  "it was moved or replaced by something other than entrain; lines that were confirmed to the source are not in it",
		Next: startOver(path),
	}
}

// stopSize is for a file that does not have the size that it was left with.
func stopSize(path string, size, want int64) error {
	stop := &entrain.Stop{
		Code: "file_truncated",
		What: fmt.Sprintf("the file %s has %d bytes; %d were written", path, size, want),
		Why:  "something other than entrain cut it; lines that were confirmed to the source are missing from it",
		Next: startOver(path),
	}
	if size > want {
		stop.Code = "file_changed"
		stop.Why = "something other than entrain wrote to it; what it wrote would be cut off or mixed with the pipeline's lines"
	}
	return stop
}

// newState begins without a position. The slot stays, so that what was not
// confirmed is still delivered.
const newState = "mv STATE/state.db STATE/state.db.old; entrain run FILE"

// startOver is the way into a new file.
func startOver(path string) string {
	return fmt.Sprintf("put the file back as it was; or leave it aside and go on in a new one: mv %s; %s", aside(path), newState)
}

// aside is what mv needs to put the file aside.
func aside(path string) string { return quote(path) + " " + quote(path+".old") }

// quote returns s as one word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
