package main

import (
	"fmt"
	"io"

	"github.com/entrainsync/entrain"
)

// guarantees says what holds for each sink of the file.
func (l *loaded) guarantees() map[string]entrain.Guarantees {
	all := map[string]entrain.Guarantees{}
	for _, end := range l.sinks {
		g := guaranteesOf(end.sink)
		if l.log != nil {
			g = guaranteesOf(l.log).And(g)
		}
		all[end.section.Name] = g
	}
	if len(l.sinks) == 0 {
		all["stream"] = guaranteesOf(l.log)
	}
	return all
}

// guaranteesOf is the least where nothing is said.
func guaranteesOf(end any) entrain.Guarantees {
	if g, ok := end.(entrain.Guarantor); ok {
		return g.Guarantees()
	}
	return entrain.Guarantees{Why: "it keeps no position: after a crash changes come again, with the same ids"}
}

// writeGuarantees prints a line a sink.
func (l *loaded) writeGuarantees(out io.Writer) error {
	all := l.guarantees()
	if len(l.sinks) == 0 {
		_, err := fmt.Fprintf(out, "guarantees of the stream: %s\n", all["stream"])
		return err
	}
	for i := range l.sinks {
		end := &l.sinks[i]
		if _, err := fmt.Fprintf(out, "guarantees at %s: %s\n", end.part(), all[end.section.Name]); err != nil {
			return err
		}
	}
	return nil
}
