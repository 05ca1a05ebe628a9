package entrain_test

import (
	"os"
	"strings"
	"testing"
)

// between returns the text from one mark to the next one after it.
func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, from)
	inside, _, closed := strings.Cut(rest, to)
	if !found || !closed {
		t.Fatalf("no text between %q and %q", from, to)
	}
	return inside
}

// TestReadmeProgram proves that the program of the README is the compiled
// Example, line by line.
func TestReadmeProgram(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	got := between(t, string(readme), "```go\n", "```")
	want := strings.ReplaceAll(between(t, string(example), "func Example() {\n", "\n}\n"), "\n\t", "\n")
	if got != strings.TrimPrefix(want, "\t")+"\n" {
		t.Errorf("README has\n%s\nbut the example is\n%s", got, want)
	}
}
