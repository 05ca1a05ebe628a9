package contract

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Contract is one table's promise, as its file has it. It is not changed once it is
// checked, and may then be read from any goroutine.
type Contract struct {
	// File is where it was read, for people.
	File string
	// Table is schema.table at the source.
	Table string `yaml:"table,required"`
	// Owner is who answers for the table: a team, an address.
	Owner string `yaml:"owner"`
	// Description says for people what a row is.
	Description string `yaml:"description"`
	// Status is "proposed", "active", "deprecated" or "retired". Breaches of a
	// proposed contract only warn. Of a retired one every event is a breach. Default
	// active.
	Status Status `yaml:"status"`
	// Dates say since when, or from when on, a status holds.
	Dates Dates `yaml:"dates"`
	// Compatibility says which changes of the table's shape keep the promise:
	// "backward", "forward", "full" or "none". Default full.
	Compatibility Compatibility `yaml:"compatibility"`
	// Classification of columns that have none of their own: "public", "internal",
	// "confidential" or "pii".
	Classification Classification `yaml:"classification"`
	// Columns are what a reader may count on.
	Columns []Column `yaml:"columns,required"`
}

// Column is a promised column.
type Column struct {
	// Name as the source has it, unquoted.
	Name string `yaml:"name,required"`
	// Type as the source's SQL writes it, with its length: numeric(10,2).
	Type string `yaml:"type,required"`
	// Nullable: a row may have NULL there. Default true.
	Nullable *bool `yaml:"nullable"`
	// Key: the column is part of what identifies a row.
	Key bool `yaml:"key"`
	// Classification says who may see the values: "public", "internal",
	// "confidential" or "pii". Values of the last two are in no message of ours.
	// Default: the contract's.
	Classification Classification `yaml:"classification"`
	// Description says for people what the value is.
	Description string `yaml:"description"`
	// Values are all that there are, in the source's text form.
	Values []string `yaml:"values"`
	// Min is the least number.
	Min string `yaml:"min"`
	// Max is the largest number.
	Max string `yaml:"max"`
	// Pattern is a regular expression (RE2) that is found in every value; ^ and $
	// bind it to the ends.
	Pattern string `yaml:"pattern"`
	// MaxLength is how many characters a value has at most; 0 for any number.
	MaxLength int `yaml:"max_length"`
}

// NotNull reports that no row may have NULL there.
func (c *Column) NotNull() bool { return c.Nullable != nil && !*c.Nullable }

// Dates are days as 2026-11-27; empty if not said.
type Dates struct {
	// Proposed is the day of the proposal.
	Proposed string `yaml:"proposed"`
	// Active is the day from which on the promise holds.
	Active string `yaml:"active"`
	// Deprecated is the day from which on nobody should begin to read the table.
	Deprecated string `yaml:"deprecated"`
	// Retired is the day from which on nothing comes of the table.
	Retired string `yaml:"retired"`
}

// each are the days in the order of a contract's life.
func (d *Dates) each() [4]string { return [4]string{d.Proposed, d.Active, d.Deprecated, d.Retired} }

// Status is where a contract is in its life.
type Status string

// The statuses, in the order of a life.
const (
	Proposed   Status = "proposed"
	Active     Status = "active"
	Deprecated Status = "deprecated"
	Retired    Status = "retired"
)

var statuses = []Status{Proposed, Active, Deprecated, Retired}

// Compatibility says which changes keep a promise. A column that may be NULL counts
// as one that a reader can do without.
type Compatibility string

// The levels.
const (
	// Backward: who knows the new shape can read old rows. A column may go, and one
	// that may be NULL may come.
	Backward Compatibility = "backward"
	// Forward: who knows the contract can read new rows. A column may come, and one
	// that may be NULL may go.
	Forward Compatibility = "forward"
	// Full is both.
	Full Compatibility = "full"
	// None: every change of shape keeps the promise.
	None Compatibility = "none"
)

var compatibilities = []Compatibility{Backward, Forward, Full, None}

// backward and forward report what a level asks for.
func (c Compatibility) backward() bool { return c == Backward || c == Full }
func (c Compatibility) forward() bool  { return c == Forward || c == Full }

// Classification says who may see values.
type Classification string

// The classes.
const (
	Public       Classification = "public"
	Internal     Classification = "internal"
	Confidential Classification = "confidential"
	PII          Classification = "pii"
)

var classifications = []Classification{"", Public, Internal, Confidential, PII}

// FieldError is a mistake in a contract.
type FieldError struct {
	// Key leads to the place: names of keys, and numbers of items from 0.
	Key []string
	// Message says what is wrong, in lower case.
	Message string
}

// Error returns place and message.
func (e *FieldError) Error() string { return strings.Join(e.Key, ".") + ": " + e.Message }

func wrong(message string, key ...string) *FieldError { return &FieldError{Key: key, Message: message} }

// Name splits the table's name at its first dot.
func (c *Contract) Name() (schema, table string) {
	schema, table, _ = strings.Cut(c.Table, ".")
	return schema, table
}

// Class is the classification of a column.
func (c *Contract) Class(column *Column) Classification {
	if column.Classification != "" {
		return column.Classification
	}
	return c.Classification
}

// Check fills in the defaults and reports the first mistake; nil if there is none.
func (c *Contract) Check() *FieldError {
	if c.Status == "" {
		c.Status = Active
	}
	if c.Compatibility == "" {
		c.Compatibility = Full
	}
	schema, table := c.Name()
	switch {
	case schema == "" || table == "":
		return wrong("expected schema.table, such as public.orders", "table")
	case !slices.Contains(statuses, c.Status):
		return wrong("expected one of "+words(statuses), "status")
	case !slices.Contains(compatibilities, c.Compatibility):
		return wrong("expected one of "+words(compatibilities), "compatibility")
	case !slices.Contains(classifications, c.Classification):
		return wrong("expected one of "+words(classifications[1:]), "classification")
	case len(c.Columns) == 0:
		return wrong("expected at least one column", "columns")
	}
	if err := c.Dates.check(); err != nil {
		return err
	}
	return c.checkColumns()
}

func words[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}

// check wants days that are days, in the order of a life.
func (d *Dates) check() *FieldError {
	var last time.Time
	for i, text := range d.each() {
		if text == "" {
			continue
		}
		key := string(statuses[i])
		day, err := time.Parse(time.DateOnly, text)
		switch {
		case err != nil:
			return wrong("expected a day such as 2026-11-27", "dates", key)
		case day.Before(last):
			return wrong("before the day of an earlier status", "dates", key)
		}
		last = day
	}
	return nil
}

// Overdue returns the last status whose day has come by the clock now, if it is one
// behind the contract's own; else "".
func (c *Contract) Overdue(now time.Time) Status {
	var due Status
	for i, text := range c.Dates.each() {
		day, err := time.Parse(time.DateOnly, text)
		if text != "" && err == nil && !day.After(now) && i > slices.Index(statuses, c.Status) {
			due = statuses[i]
		}
	}
	return due
}

func (c *Contract) checkColumns() *FieldError {
	seen := map[string]bool{}
	for i := range c.Columns {
		col, at := &c.Columns[i], strconv.Itoa(i)
		if key, message := col.check(); message != "" {
			return wrong(message, "columns", at, key)
		}
		if seen[col.Name] {
			return wrong(fmt.Sprintf("there is a column %q above", col.Name), "columns", at, "name")
		}
		seen[col.Name] = true
	}
	return nil
}

// check returns the first mistake and the key that it is at.
func (c *Column) check() (key, message string) {
	switch {
	case c.Name == "":
		return "name", "expected the column's name"
	case strings.TrimSpace(c.Type) == "":
		return "type", "expected a type such as numeric(10,2)"
	case c.Key && c.Nullable != nil && *c.Nullable:
		return "nullable", "a column of the key is never NULL"
	case !slices.Contains(classifications, c.Classification):
		return "classification", "expected one of " + words(classifications[1:])
	case c.MaxLength < 0:
		return "max_length", "expected a number of characters"
	}
	for _, bound := range []struct{ key, text string }{{"min", c.Min}, {"max", c.Max}} {
		switch {
		case bound.text == "":
		case !plainNumber([]byte(bound.text)):
			return bound.key, "expected a number such as 0 or 99.5"
		case !parseType(c.Type).number():
			return bound.key, "only numbers have a least and a largest one"
		}
	}
	if c.Min != "" && c.Max != "" && compareNumbers([]byte(c.Min), []byte(c.Max)) > 0 {
		return "max", "less than min"
	}
	if _, err := regexp.Compile(c.Pattern); err != nil {
		return "pattern", err.Error()
	}
	return "", ""
}
