package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/fanout"
	"github.com/entrainsync/entrain/fanout/window"
	"github.com/entrainsync/entrain/internal/config"
)

// classes are the rules of a file, or those of before; nil: all tables are of one.
type classes []config.Class

// of is the class of a table.
func (c classes) of(schema, name string) string {
	for i := range c {
		if fits, err := connector.MatchTables(c[i].Tables); err == nil && fits(schema, name) {
			return c[i].Name
		}
	}
	return fanout.MainClass
}

// names are the classes that there are, the main one first.
func (c classes) names() []string {
	all := []string{fanout.MainClass}
	for i := range c {
		if !slices.Contains(all, c[i].Name) {
			all = append(all, c[i].Name)
		}
	}
	return all
}

// lane is the class of this name.
func (c classes) lane(name string) *fanout.Lane {
	return &fanout.Lane{Class: name, Sees: func(schema, table string) bool { return c.of(schema, table) == name }}
}

// same reports whether every table is of the same class under both rules, as far as
// the rules say.
func (c classes) same(other classes) bool {
	return slices.EqualFunc(c, other, func(a, b config.Class) bool {
		return a.Name == b.Name && slices.Equal(a.Tables, b.Tables)
	})
}

// windows sets when a lane of the file is due.
func (l *loaded) windows(lane *fanout.Lane) {
	for i := range l.file.Classes {
		c := &l.file.Classes[i]
		if c.Name != lane.Class {
			continue
		}
		lane.Schedule = c.Schedule()
		if c.Class == config.ClassMicro {
			lane.Small = &window.Rules{Every: c.Every, Rows: c.Rows, Bytes: int(l.file.Pipeline.Buffer)}
		}
	}
}

// name is the delivery's: the sink's, with its class if it is not the main one.
func (e *sinkEnd) name() string {
	if e.class == "" || e.class == fanout.MainClass {
		return e.section.Name
	}
	return e.section.Name + "." + e.class
}

// sinkOf is the sink that a name of it, or of one of its classes, is about.
func sinkOf(name string) string {
	sink, _, _ := strings.Cut(name, ".") // there is no dot in either name
	return sink
}

// knows reports whether the file has a sink that a name is about.
func (f *flow) knows(name string) bool { return f.cursors[sinkOf(name)] != nil }

// as is the sink's delivery of a class.
func (e sinkEnd) as(l *loaded, class string) sinkEnd {
	e.class = class
	if l.log != nil {
		e.env.Pipeline = deliveryName(l.file.Name, e.name(), "")
	}
	return e
}

// deliveries are those of all sinks: of each class of the file, and of those that the
// file had before.
func (l *loaded) deliveries() []sinkEnd {
	var all []sinkEnd
	for _, end := range l.sinks {
		names := classes(l.file.Classes).names()
		for _, gone := range l.classed.known(end.section.Name) {
			if !slices.Contains(names, gone) {
				names = append(names, gone)
			}
		}
		for _, class := range names {
			all = append(all, end.as(l, class))
		}
	}
	return all
}

// reading are the deliveries that the stream must keep changes for: those under the
// rules of the file, and under those that still hold.
func (l *loaded) reading() []sinkEnd {
	var all []sinkEnd
	for _, end := range l.sinks {
		names := classes(l.file.Classes).names()
		before, _ := l.classed.rules(end.section.Name)
		for _, class := range before.names() {
			if !slices.Contains(names, class) {
				names = append(names, class)
			}
		}
		for _, class := range names {
			all = append(all, end.as(l, class))
		}
	}
	return all
}

// hasClasses reports whether the file has a class besides the main one.
func (l *loaded) hasClasses() bool { return len(classes(l.file.Classes).names()) > 1 }

// checkClasses refuses classes where they cannot be.
func (l *loaded) checkClasses() error {
	if !l.hasClasses() {
		return nil
	}
	if l.half != both {
		return usageError{errors.New("a file with classes of tables is run by one process: entrain run FILE")}
	}
	for _, end := range l.sinks {
		if one, is := end.sink.(entrain.Undivided); is {
			return l.file.Place(fmt.Errorf("the classes of tables are delivered by themselves, and the sink %s, of type %s, takes one delivery: %s",
				end.section.Name, end.section.Type, one.Undivided()), "classes")
		}
	}
	return nil
}

// lanes are the deliveries of a sink under some rules.
func (l *loaded) lanes(end sinkEnd, rules classes) []laneEnd {
	var all []laneEnd
	for _, name := range rules.names() {
		one := laneEnd{end: end.as(l, name), lane: rules.lane(name)}
		one.lane.Memory = l.classed.lane(end.section.Name, name)
		all = append(all, one)
	}
	return all
}

// laneEnd is the delivery of a class into a sink.
type laneEnd struct {
	end  sinkEnd
	lane *fanout.Lane
}

// deliveryNamed is the delivery that a command is about, by its sink's name, or with
// that of a class behind it; of a sink alone it is the main one.
func (l *loaded) deliveryNamed(command, name string) (*sinkEnd, error) {
	sink, class, classed := strings.Cut(name, ".")
	end, err := l.sinkNamed(command, sink)
	if err != nil || !classed {
		return end, err
	}
	if names := classes(l.file.Classes).names(); !slices.Contains(names, class) {
		return nil, usageError{fmt.Errorf("--sink %s: the file has no such class, only %q", name, names)}
	}
	one := end.as(l, class)
	if one.sink, err = one.build(one.env); err != nil {
		return nil, err
	}
	return &one, nil
}

// ofClass leaves of wanted tables of the source those of a delivery.
func (l *loaded) ofClass(end *sinkEnd, wanted func(schema, name string) bool) func(schema, name string) bool {
	if !l.hasClasses() {
		return wanted
	}
	class := cmp.Or(end.class, fanout.MainClass)
	return func(schema, name string) bool {
		if !wanted(schema, name) {
			return false
		}
		if l.rules != nil {
			schema, name = l.rules.Name(schema, name)
		}
		return classes(l.file.Classes).of(schema, name) == class
	}
}

// cursor is a delivery's name in the stream.
func (l *loaded) cursor(end sinkEnd) string {
	name := l.file.Cursor(end.section)
	if end.name() == end.section.Name {
		return name
	}
	if end.section.Name == config.DefaultSink && l.file.Consumer.GroupID != "" {
		name += "." + config.DefaultSink
	}
	return name + "." + cmp.Or(end.class, fanout.MainClass)
}
