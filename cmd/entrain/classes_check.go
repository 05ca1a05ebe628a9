package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

// codeClassTables is about the patterns of classes.
const codeClassTables = "class_tables"

// checkClassTables examines which tables the rules of classes are for: names in them
// are those behind the rules of transform. delivered is nil if not known.
func (l *loaded) checkClassTables(delivered *entrain.Report) []entrain.Finding {
	if !l.hasClasses() || delivered == nil {
		return nil
	}
	f := entrain.Finding{Code: codeClassTables, Object: "pipeline file", Doc: "classes.md#" + codeClassTables}
	var idle []string
	for i, c := range l.file.Classes {
		used := false
		for _, t := range delivered.Tables {
			fits, err := connector.MatchTables(c.Tables)
			used = used || err == nil && fits(t.Schema, t.Name) && classes(l.file.Classes[:i+1]).of(t.Schema, t.Name) == c.Name
		}
		if !used {
			idle = append(idle, fmt.Sprintf("%s (%s)", c.Name, strings.Join(c.Tables, ", ")))
		}
	}
	if len(idle) > 0 {
		f.Status = entrain.FindingWarning
		f.Why = "no table that is captured now is for these rules of classes: " + strings.Join(idle, "; ") +
			". The first rule that fits a table holds, by the name that it has behind transform"
	}
	return []entrain.Finding{f}
}

// writeClasses says what classes do to transactions.
func (l *loaded) writeClasses(out io.Writer) error {
	if !l.hasClasses() {
		return nil
	}
	_, err := fmt.Fprintf(out, "classes of tables: %s; a transaction that touches tables of several arrives in as many parts, "+
		"each whole and in its order (P4 holds within a class)\n", strings.Join(classes(l.file.Classes).names(), ", "))
	return err
}
