package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/entrainsync/entrain"
)

// place is where the pipeline at hand is described and kept; empty while there
// is none.
type place struct {
	file  string // the pipeline file, as it was given
	state string // its state folder
}

// blanks finds the words in a stop's advice that stand for the pipeline's file
// and its state folder. Quoted text is left alone: it may name a table so.
var blanks = regexp.MustCompile(`"[^"]*"|\B'[^']*'|\bFILE\b|\bSTATE\b`)

// fill puts the place into advice, so that it can be typed as it is.
func (at place) fill(advice string) string {
	return blanks.ReplaceAllStringFunc(advice, func(word string) string {
		switch {
		case word == "FILE" && at.file != "":
			return shellWord(at.file)
		case word == "STATE" && at.state != "":
			return shellWord(at.state)
		}
		return word
	})
}

var plainWord = regexp.MustCompile(`^[\w./-]+$`)

// shellWord returns s so that a shell takes it as one word.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

var inLine = regexp.MustCompile(`[^\n\t]+`)

// ownLines keeps the lines of a text that quotes what others said, and its tabs,
// and nothing else that misleads.
func ownLines(text string) string {
	return inLine.ReplaceAllStringFunc(strings.TrimRight(text, "\n"), oneLine)
}

// describeStop answers the three questions, a labelled line each.
func describeStop(stop *entrain.Stop, at place) string {
	what := oneLine(stop.What)
	if stop.Err != nil {
		what += ": " + ownLines(stop.Err.Error())
	}
	return "entrain: stopped (" + stop.Code + ")\n" + answers(what, oneLine(stop.Why), at.fill(sqlLine(stop.Next)))
}

// describeUnreachable does so for err, which u is the cause of.
func describeUnreachable(err error, u *entrain.Unreachable) string {
	return "entrain: cannot connect\n" + answers(ownLines(err.Error()), oneLine(u.Why), oneLine(u.Next))
}

func answers(what, why, next string) string {
	var b strings.Builder
	for _, answer := range [][2]string{{"what happened", what}, {"why", why}, {"next", next}} {
		if answer[1] != "" {
			text := strings.ReplaceAll(strings.TrimRight(answer[1], "\n"), "\n", "\n                 ")
			fmt.Fprintf(&b, "%15s: %s\n", answer[0], text)
		}
	}
	return b.String()
}
