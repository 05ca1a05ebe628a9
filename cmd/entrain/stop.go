package main

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/entrainsync/entrain"
)

// place is where the pipeline at hand is described and kept; empty while there
// is none.
type place struct {
	file  string // the pipeline file, as it was given
	state string // its state folder
	half  half   // what the process at hand does of it
	sink  string // of a delivery behind a stream, which is tried again by itself
}

// runs is the command that runs the pipeline in a process like this one.
func (at place) runs() string {
	switch at.half {
	case captureOnly:
		return "entrain capture FILE"
	case deliverOnly:
		return "entrain deliver FILE"
	}
	return runFile
}

// runFile is how stops name the command that runs a pipeline.
const runFile = "entrain run FILE"

// spot is a place that may be read while it is set.
type spot struct{ at atomic.Pointer[place] }

func (s *spot) set(at place) { s.at.Store(&at) }

// get returns what was set last.
func (s *spot) get() place {
	if at := s.at.Load(); at != nil {
		return *at
	}
	return place{}
}

// blanks finds the words in a stop's advice that stand for the pipeline's file
// and its state folder. Quoted text and qualified names are left alone: they may
// name a table so.
var blanks = regexp.MustCompile(`"[^"]*"|\B'[^']*'|\.FILE\b|\.STATE\b|\bFILE\.\w|\bSTATE\.\w|\bFILE\b|\bSTATE\b`)

// fill puts the place into advice, so that it can be typed as it is.
func (at place) fill(advice string) string {
	return blanks.ReplaceAllStringFunc(strings.ReplaceAll(advice, runFile, at.runs()), func(word string) string {
		switch {
		case word == "FILE" && at.file != "":
			return shellWord(at.file)
		case word == "STATE" && at.state != "":
			return shellWord(at.state)
		}
		return word
	})
}

// nextMark is what comes before the advice in the text of a stop.
const nextMark = "; next: "

// fillText fills in the advice that a text ends with, if it is a stop's.
func (at place) fillText(text string) string {
	what, advice, found := strings.Cut(text, nextMark)
	what = at.fillIn(what)
	if !found {
		return what
	}
	return what + nextMark + at.fill(advice)
}

// inFile finds where a text that is no advice says what the pipeline's file has.
var inFile = regexp.MustCompile(` in FILE\b|entrain sink resume FILE\b`)

// fillIn puts the file's name where a text is about the file, and leaves the rest alone,
// which may be of a row.
func (at place) fillIn(text string) string {
	return inFile.ReplaceAllStringFunc(text, at.fill)
}

// filledError is an error with the file's name in its text.
type filledError struct {
	error
	text string
}

func (e filledError) Error() string { return e.text }

func (e filledError) Unwrap() error { return e.error }

// fillStop returns the stop that err is, with its advice filled in, or err.
func (at place) fillStop(err error) error {
	var stop *entrain.Stop
	if !errors.As(err, &stop) {
		if err != nil && inFile.MatchString(err.Error()) {
			return filledError{err, at.fillIn(err.Error())}
		}
		return err
	}
	filled := *stop
	filled.What, filled.Why = at.fillIn(filled.What), at.fillIn(filled.Why)
	if at.sink != "" && stop.Code == "table_missing" && stop.Table != nil {
		filled.Next = at.missingBehindStream(stop.Table)
	}
	filled.Next = at.fill(at.retried(filled.Next))
	return &filled
}

// missingBehindStream is the advice about a table that a delivery lacks. Its changes are
// in the stream already, so that leaving the table out helps with those to come only; and
// a table that a person makes has none of the rows from before.
func (at place) missingBehindStream(t *entrain.Table) string {
	name := shellWord(t.Schema + "." + t.Name)
	byHand := "entrain check --fix-sql --only table_missing FILE   # prints the SQL that makes it; " + goesOn + "\n" +
		"and, for the rows that it had: entrain table resync FILE " + name
	out := fmt.Sprintf("or leave it out: make it so, since the stream has changes of it already; then source.tables: {exclude: [%q]} in FILE, "+
		"by the name that it has at the source, and kill -HUP the process", t)
	if at.half == deliverOnly { // the definition is at the source
		return byHand + "   # where entrain capture FILE runs\n" + out
	}
	return byHand + "\nor have it made, with its rows: create_tables: true at sink " + at.sink + " in FILE, and kill -HUP the process\n" + out
}

// retried says, of advice for a delivery, that it needs no command to go on once the
// SQL before is done, and which sink it is.
func (at place) retried(advice string) string {
	if at.sink == "" {
		return advice
	}
	advice = strings.ReplaceAll(advice, " --sink SINK", " --sink "+at.sink)
	return strings.ReplaceAll(advice, "then: "+runFile, goesOn)
}

// named has commands that are about one sink name it, where there may be several.
func (at place) named(command string) string {
	const sync = "entrain sequences sync FILE"
	if at.sink == "" || !strings.HasSuffix(command, sync) {
		return command
	}
	return command + " --sink " + at.sink
}

// goesOn is what happens when the cause is mended.
const goesOn = "then it goes on by itself: it is tried again every 15 s"

// fillAttr does so in a line of the log.
func (at place) fillAttr(a slog.Attr) slog.Attr {
	switch err, isError := a.Value.Any().(error); {
	case isError:
		a.Value = slog.StringValue(at.fillText(err.Error()))
	case a.Key == "next" && a.Value.Kind() == slog.KindString:
		a.Value = slog.StringValue(at.fill(a.Value.String()))
	}
	return a
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
	return "entrain: stopped (" + stop.Code + ")\n" + answers(at.fillText(what), oneLine(at.fillIn(stop.Why)), at.fill(sqlLine(stop.Next)))
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
