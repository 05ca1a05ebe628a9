package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/fanout/window"
)

// Class is a rule of the classes: section, which says when the changes of some tables
// are delivered. For a table the first rule holds whose patterns fit it; without one
// its changes are delivered as they come.
type Class struct {
	// Tables are patterns over schema.table, as the stream has them: behind transform.
	Tables []string `yaml:"tables,required"`
	// Class is "stream", the default of all tables: changes are delivered as they come;
	// "micro_batch": in small windows; "batch": at the times of cron.
	Class string `yaml:"class,required"`
	// Name is what the class is called in status, metrics and commands. Default: the
	// word behind class. Each micro_batch and batch of a file needs one of its own.
	Name string `yaml:"name"`
	// Every is how long the first change of a micro_batch waits, at most. Default 5s.
	Every time.Duration `yaml:"every"`
	// Rows ends the window of a micro_batch before its time, when so many wait. Default
	// 10000.
	Rows int `yaml:"rows"`
	// Cron says when a batch is delivered: minute, hour, day of the month, month and day
	// of the week, such as "30 2 * * *".
	Cron string `yaml:"cron"`
	// Timezone of cron, such as Europe/Berlin. Default UTC.
	Timezone string `yaml:"timezone"`
}

// The words behind class:.
const (
	ClassStream = "stream"
	ClassMicro  = "micro_batch"
	ClassBatch  = "batch"
)

// The defaults of a micro_batch, and the least time that is one.
const (
	defaultEvery = 5 * time.Second
	defaultRows  = 10000
	leastEvery   = 100 * time.Millisecond
)

// Schedule is when windows of a batch begin; nil for the other classes. The class is
// of a file that was loaded.
func (c *Class) Schedule() *window.Schedule {
	s, err := c.schedule()
	if err != nil {
		return nil // it was checked
	}
	return s
}

func (c *Class) schedule() (*window.Schedule, error) {
	if c.Class != ClassBatch {
		return nil, nil
	}
	zone, err := time.LoadLocation(c.Timezone) // empty: UTC
	if err != nil {
		return nil, err
	}
	return window.ParseSchedule(c.Cron, zone)
}

// checkClasses completes and checks the rules.
func (d *document) checkClasses(root *node) error {
	taken := map[string]bool{}
	for i := range d.Classes {
		at := root.get("classes").item(i)
		if err := d.Classes[i].check(at); err != nil {
			return err
		}
		name := d.Classes[i].Name
		switch {
		case d.Classes[i].Class == ClassStream:
		case taken[name] && at.get("name") == nil:
			return at.find("class").errorf("another class is called %s already: give this one a name", name)
		case taken[name]:
			return at.find("name").errorf("another class is called %s already", name)
		}
		taken[name] = true
	}
	return nil
}

// check completes and checks one rule.
func (c *Class) check(at *node) error {
	if len(c.Tables) == 0 {
		return at.find("tables").errorf("expected at least one pattern such as public.orders")
	}
	if _, err := connector.MatchTables(c.Tables); err != nil {
		return at.find("tables").errorf("%s", err)
	}
	fits := map[string]string{"every": ClassMicro, "rows": ClassMicro, "cron": ClassBatch, "timezone": ClassBatch}
	for _, key := range []string{"every", "rows", "cron", "timezone"} {
		if at.get(key) != nil && fits[key] != c.Class {
			return at.find(key).errorf("only a class %s has this key", fits[key])
		}
	}
	if err := c.checkName(at); err != nil {
		return err
	}
	switch c.Class {
	case ClassStream:
		return nil
	case ClassMicro:
		return c.checkSmall(at)
	case ClassBatch:
		return c.checkCron(at)
	}
	return at.find("class").errorf("expected %s, %s or %s", ClassStream, ClassMicro, ClassBatch)
}

func (c *Class) checkName(at *node) error {
	if c.Name == "" {
		c.Name = c.Class
		return nil
	}
	switch {
	case c.Class == ClassStream:
		return at.find("name").errorf("the class %s is one for all, and has its name", ClassStream)
	case c.Name == ClassStream:
		return at.find("name").errorf("%s is the class of tables that are in no other one", ClassStream)
	case !validName.MatchString(c.Name):
		return at.find("name").errorf("not fit to be a class's name: %s", nameRule)
	}
	return nil
}

func (c *Class) checkSmall(at *node) error {
	if at.get("every") == nil {
		c.Every = defaultEvery
	}
	if at.get("rows") == nil {
		c.Rows = defaultRows
	}
	switch {
	case c.Every < leastEvery:
		return at.find("every").errorf("expected at least %s, such as 5s; a class %s does not wait", leastEvery, ClassStream)
	case c.Rows < 1:
		return at.find("rows").errorf("expected 1 or more, such as 10000")
	}
	return nil
}

func (c *Class) checkCron(at *node) error {
	if at.get("cron") == nil {
		return at.errorf("the key \"cron\" is missing here: it says when a batch is delivered, such as 30 2 * * *")
	}
	if _, err := time.LoadLocation(c.Timezone); err != nil || strings.EqualFold(c.Timezone, "local") {
		return at.find("timezone").errorf("expected the name of a time zone, such as Europe/Berlin or UTC")
	}
	if _, err := c.schedule(); err != nil {
		return at.find("cron").errorf("%s", err)
	}
	return nil
}

// needsStream puts the embedded stream between source and sinks if the file has
// several, or classes, and says nothing of a stream.
func (f *File) needsStream(d *document) error {
	why := ""
	switch {
	case f.Stream != nil:
		return nil
	case len(f.Sinks) > 1:
		why = fmt.Sprintf("%d sinks need", len(f.Sinks))
	case classed(f.Classes):
		why = "the classes of tables (the key \"classes\") need"
	default:
		return nil
	}
	if d.Stream.node != nil {
		return d.Stream.node.find("type").errorf("%s a stream between them and the source: leave stream out, or choose embedded", why)
	}
	root := f.root
	f.Stream = &Section{Type: streamEmbedded, node: &node{src: root.src, kind: mapping, line: root.line, column: root.column}}
	return nil
}

// classed reports whether any table may wait.
func classed(classes []Class) bool {
	return slices.ContainsFunc(classes, func(c Class) bool { return c.Class != ClassStream })
}
