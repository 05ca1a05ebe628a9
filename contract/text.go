package contract

import (
	"regexp"
	"strconv"
	"strings"
)

// plainText is what YAML reads as the text that it is, in block style.
var plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*( [A-Za-z0-9_.]+)*(\([0-9]+(,-?[0-9]+)?\))?( [a-z]+)*(\[\])*$`)

// otherwise are words that YAML's readers take for something else.
var otherwise = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|\.nan|\.inf)$`)

// scalar writes a text so that it is read back as it is.
func scalar(text string) string {
	if plainText.MatchString(text) && !otherwise.MatchString(text) {
		return text
	}
	return strconv.Quote(strings.ToValidUTF8(text, "\uFFFD"))
}

// Text is the contract as a file has it, in YAML. Reading it gives the same contract.
func (c *Contract) Text() string {
	var b strings.Builder
	line := func(indent, key, text string) {
		if text != "" {
			b.WriteString(indent + key + ": " + text + "\n")
		}
	}
	line("", "table", scalar(c.Table))
	line("", "owner", quoted(c.Owner))
	line("", "description", quoted(c.Description))
	line("", "status", string(c.Status))
	if c.Dates != (Dates{}) {
		b.WriteString("dates:\n")
		for i, day := range c.Dates.each() {
			line("  ", string(statuses[i]), day)
		}
	}
	line("", "compatibility", string(c.Compatibility))
	line("", "classification", string(c.Classification))
	b.WriteString("columns:\n")
	for i := range c.Columns {
		col := &c.Columns[i]
		line("  - ", "name", scalar(col.Name))
		line("    ", "type", scalar(col.Type))
		if col.Nullable != nil {
			line("    ", "nullable", strconv.FormatBool(*col.Nullable))
		}
		if col.Key {
			line("    ", "key", "true")
		}
		line("    ", "classification", string(col.Classification))
		line("    ", "description", quoted(col.Description))
		line("    ", "values", list(col.Values))
		line("    ", "min", col.Min)
		line("    ", "max", col.Max)
		line("    ", "pattern", quoted(col.Pattern))
		line("    ", "max_length", length(col.MaxLength))
	}
	return b.String()
}

// quoted is text in quotes; empty for none.
func quoted(text string) string {
	if text == "" {
		return ""
	}
	return scalar(text)
}

func list(values []string) string {
	if len(values) == 0 {
		return ""
	}
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = strconv.Quote(strings.ToValidUTF8(v, "\uFFFD"))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// Draft is a proposed contract for a table as it is. What a former one says that no
// table shows stays: owner, status, rules and descriptions. former is nil for none.
func Draft(s Shape, former *Contract) *Contract {
	c := &Contract{Table: s.Table, Status: Proposed, Compatibility: Full}
	if former != nil {
		*c = *former
		c.Columns = nil
	}
	for _, f := range s.Fields {
		col := Column{Name: f.Name}
		if former != nil {
			if known := former.column(f.Name); known != nil {
				col = *known
			}
		}
		if !parseType(col.Type).equal(parseType(f.Type)) {
			col.Type = f.Type
			if !parseType(f.Type).number() {
				col.Min, col.Max = "", ""
			}
		}
		if !s.KeyUnknown || former == nil {
			col.Key = f.Key
		}
		if null := f.Null == MayBeNull && !col.Key; f.Null != NullUnknown && null == (col.NotNull() || col.Key && col.Nullable == nil) {
			col.Nullable = &null
		}
		c.Columns = append(c.Columns, col)
	}
	return c
}
