package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// adviceOf is what is printed and documented as something to type.
var adviceOf = regexp.MustCompile(`\bentrain ([a-z]+)(?: ([a-z]+))?((?: --?[a-z-]+)*) (?:FILE|shop\.yaml)\b`)

// unknownAdvice lists the commands in a text that the program does not have.
func unknownAdvice(text string) []string {
	root := (&program{}).rootCommand()
	var unknown []string
	for _, found := range adviceOf.FindAllStringSubmatch(text, -1) {
		words := slices.DeleteFunc(found[1:3], func(w string) bool { return w == "" })
		cmd, rest, err := root.Find(words)
		if err != nil || cmd == root || len(rest) > 0 {
			unknown = append(unknown, found[0])
		}
	}
	return unknown
}

// TestAdviceNamesCommands: what stops and pages say to type is there.
func TestAdviceNamesCommands(t *testing.T) {
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		name := filepath.Base(path)
		if err != nil || d.IsDir() && name == ".git" {
			return errorOrSkip(err)
		}
		isCode := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if d.IsDir() || !isCode && !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if adviceOf.Match(text) {
			files++
		}
		for _, advice := range unknownAdvice(string(text)) {
			t.Errorf("%s: there is no such command: %s", path, advice)
		}
		return err
	})
	if err != nil || files < 20 {
		t.Fatalf("advice in %d files: %v", files, err)
	}
}

func errorOrSkip(err error) error {
	if err != nil {
		return err
	}
	return fs.SkipDir
}

func TestUnknownAdvice(t *testing.T) {
	const text = "entrain resync FILE; entrain table list FILE # entrain check --fix-sql FILE, entrain table rename shop.yaml: entrain run FILE"
	if got := unknownAdvice(text); !slices.Equal(got, []string{"entrain resync FILE", "entrain table rename shop.yaml"}) {
		t.Errorf("found %q", got)
	}
}
