package snapshot

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/entrainsync/entrain"
)

// copyText turns lines of COPY TO STDOUT's text format into rows. It is pure.
type copyText struct {
	builder entrain.RowBuilder
	plain   []byte // a value without its escapes
}

var (
	errUnended = errors.New("a row of COPY does not end with a line break")
	errEscape  = errors.New("a row of COPY ends inside an escape")
)

// row appends the row that a line says, of n columns, to buf. Whatever the
// bytes are, it returns an error rather than panic.
func (c *copyText) row(buf, line []byte, n int) (row entrain.Row, rest []byte, err error) {
	last := len(line) - 1
	if last < 0 || line[last] != '\n' {
		return nil, buf, errUnended
	}
	line = line[:last]
	c.builder.Begin(buf, n)
	fields := 0
	switch {
	case n == 0 && last == 0:
	case bytes.IndexByte(line, '\\') < 0:
		fields = c.plainFields(line, n)
	default:
		fields, err = c.fields(line, n)
	}
	if err == nil && fields != n {
		err = fmt.Errorf("a row of COPY has not the %d columns of its table", n)
	}
	if err != nil {
		return nil, buf, err
	}
	row, rest = c.builder.End()
	return row, rest, nil
}

// plainFields adds the values of a line without escapes and returns how many
// there are, at most one more than n.
func (c *copyText) plainFields(line []byte, n int) int {
	for i := range n {
		at := bytes.IndexByte(line, '\t')
		if at < 0 {
			c.builder.Value(line)
			return i + 1
		}
		c.builder.Value(line[:at])
		line = line[at+1:]
	}
	return n + 1
}

// fields is plainFields for any line.
func (c *copyText) fields(line []byte, n int) (int, error) {
	for i := range n {
		at := 0
		for at < len(line) && line[at] != '\t' && line[at] != '\\' {
			at++
		}
		rest := line[at:]
		switch {
		case len(rest) == 0 || rest[0] == '\t':
			c.builder.Value(line[:at])
		case at == 0 && len(rest) >= 2 && rest[1] == 'N':
			rest = rest[2:]
			if len(rest) > 0 && rest[0] != '\t' {
				return 0, errors.New(`a row of COPY has a value behind \N`)
			}
			c.builder.Null()
		default:
			c.plain = append(c.plain[:0], line[:at]...)
			var err error
			if rest, err = c.unescape(rest); err != nil {
				return 0, err
			}
			c.builder.Value(c.plain)
		}
		if len(rest) == 0 {
			return i + 1, nil
		}
		line = rest[1:]
	}
	return n + 1, nil
}

// unescape appends a value's text up to the next tab to plain and returns what
// follows, the tab included.
func (c *copyText) unescape(line []byte) ([]byte, error) {
	for i := 0; i < len(line); i++ {
		b := line[i]
		if b == '\t' {
			return line[i:], nil
		}
		if b == '\\' {
			if i++; i == len(line) {
				return nil, errEscape
			}
			b = unescaped(line[i])
		}
		c.plain = append(c.plain, b)
	}
	return nil, nil
}

// unescaped is what a letter behind a backslash stands for. The server writes no
// other escapes than these and a doubled backslash (PostgreSQL manual, COPY).
func unescaped(letter byte) byte {
	switch letter {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'v':
		return '\v'
	}
	return letter
}
