package file

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/entrainsync/entrain"
)

// findingsOf returns what is not well, by code.
func findingsOf(t *testing.T, path string) map[string]entrain.Finding {
	t.Helper()
	s, err := NewSink(SinkConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	report, err := s.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]entrain.Finding{}
	for _, f := range report.Findings {
		if !slices.Contains(s.Codes(), f.Code) || f.Doc != "postgres.md#"+f.Code || f.Object == "" {
			t.Errorf("%+v", f)
		}
		if f.Status != entrain.FindingOK && f.Code != codeSpace { // the machine's own matter
			found[f.Code] = f
		}
	}
	return found
}

// Several partitions cannot write to one file, nor to standard output.
func TestCheckPartitions(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "out.jsonl"), "-"} {
		s, err := NewSink(SinkConfig{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		for partitions, want := range []entrain.FindingStatus{entrain.FindingOK, entrain.FindingOK, entrain.FindingError} {
			report, err := s.Check(t.Context(), &entrain.Report{Partitions: partitions})
			if err != nil || report.Findings[0].Code != codePartitions || report.Findings[0].Status != want {
				t.Errorf("%s with %d partitions: %+v, %v", path, partitions, report.Findings, err)
			}
		}
	}
}

// What is found is gone when its fix was executed, and nothing is made by the
// examination itself.
func TestCheckAndItsFixes(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "o'dd folder", "out.jsonl")
	f, ok := findingsOf(t, path)[codeFolder]
	if !ok || len(f.Fix) != 1 {
		t.Fatalf("%+v", f)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", f.Fix[0].Shell).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if found := findingsOf(t, path); len(found) > 0 {
		t.Errorf("after the fix: %+v", found)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the examination made the file")
	}
	if found := findingsOf(t, dir); found[codeWritable].Status != entrain.FindingError {
		t.Errorf("a folder: %+v", found)
	}
	if found := findingsOf(t, "-"); len(found) > 0 {
		t.Errorf("standard output: %+v", found)
	}
}
