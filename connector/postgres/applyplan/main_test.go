package applyplan

import (
	"flag"
	"os"
	"testing"
)

// TestMain runs more random cases than rapid's default: each is a few
// microseconds.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("3000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
