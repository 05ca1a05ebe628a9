package throwaway

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// java makes a runtime in the folder that answers -version as told.
func java(t *testing.T, home, answer string) string {
	t.Helper()
	path := filepath.Join(home, "bin", "java")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+answer+"' >&2\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFindJavaTakesTheFirstThatWillDo(t *testing.T) {
	home, other := t.TempDir(), t.TempDir()
	t.Setenv("JAVA_HOME", home)
	t.Setenv("PATH", filepath.Join(other, "bin")+":"+os.Getenv("PATH"))
	java(t, home, `openjdk version "1017.0.1" 2026-01-01`)
	want := java(t, other, `openjdk version "1021" 2026-01-01`)
	got, err := FindJava(t.Context(), 1018)
	if err != nil || got.Path != want || got.Major != 1021 {
		t.Errorf("FindJava(1018) = %+v, %v, want %s", got, err, want)
	}
	if got, err := FindJava(t.Context(), 1017); err != nil || got.Major != 1017 {
		t.Errorf("FindJava(1017) = %+v, %v, want that of JAVA_HOME", got, err)
	}
	_, err = FindJava(t.Context(), 1022)
	var missing *NoJavaError
	if !errors.As(err, &missing) || missing.Least != 1022 || !strings.Contains(err.Error(), want+" is version 1021") {
		t.Errorf("FindJava(1022) = %v, want an error that names what was found", err)
	}
}
