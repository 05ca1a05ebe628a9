package config

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/entrainsync/entrain/transform"
)

// TransformError gives a mistake that [transform.New] found in a rule its place
// in the file.
func (f *File) TransformError(err error) error {
	var wrong *transform.RuleError
	if !errors.As(err, &wrong) {
		return err
	}
	at := f.rules.item(wrong.Rule)
	for _, key := range wrong.Key {
		if i, numErr := strconv.Atoi(key); numErr == nil && at.kind == sequence {
			at = at.item(i)
			continue
		}
		at = at.find(key)
	}
	if at.from != nil {
		return at.errorf("%s cannot be used here", at.describe()) // the message may quote it
	}
	placed := at.errorf("%s", wrong.Message)
	placed.Hint, placed.Err = wrong.Hint, err
	if wrong.Line > 0 {
		placed.pointInto(at, wrong)
	}
	return placed
}

// pointInto moves the caret to the place inside an expression. That is only
// possible where the text stands in the file as it is.
func (e *Error) pointInto(at *node, wrong *transform.RuleError) {
	first, lines := at.line, strings.Split(at.text, "\n")
	if len(lines) > 1 {
		first++ // behind the | of a block
	}
	if wrong.Line > len(lines) {
		return
	}
	number := first + wrong.Line - 1
	before, _, found := strings.Cut(at.src.line(number), lines[wrong.Line-1])
	if !found || at.secret {
		return
	}
	e.Line, e.Column = number, utf8.RuneCountInString(before)+wrong.Column
	e.excerpt, e.caret = maskLine(at.src.line(number), e.Column, flowEnd)
	e.width = 1
}
