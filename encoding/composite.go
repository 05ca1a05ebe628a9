package encoding

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// valueFunc appends a value's JSON form, made of its canonical text. It is not
// ok if the text is not one of the type; dst then is returned as it was or
// longer.
type valueFunc func(dst, text []byte) (out []byte, ok bool)

// arrayOf writes PostgreSQL arrays, of any number of dimensions, as JSON
// arrays. Bounds ("[0:1]={7,8}") are not written. The delimiter is what stands
// between elements.
func arrayOf(element valueFunc, delimiter byte) valueFunc {
	a := &arrayWriter{element: element, delimiter: delimiter}
	return a.append
}

// delimiterOf is what stands between the elements of arrays of a type, which is
// qualified if it is none of the system's: a comma but for boxes and for PostGIS's
// types. Of other types that have another one (pg_type.typdelim) the log does not tell.
func delimiterOf(element string) byte {
	switch {
	case element == "box":
		return ';'
	case strings.HasSuffix(element, ".geometry"), strings.HasSuffix(element, ".geography"):
		return ':'
	}
	return ','
}

type arrayWriter struct {
	element   valueFunc
	delimiter byte
	scratch   []byte // an element without its quotes
}

func (a *arrayWriter) append(dst, text []byte) ([]byte, bool) {
	text = skipBounds(text)
	depth := 0
	before := byte(',') // what stands before text: one of { } , or 'e' for an element
	for len(text) > 0 && (depth > 0 || before == ',') {
		c := a.read(text[0])
		value := before == '{' || before == ',' // one can stand here
		ok := true
		switch {
		case c == '{' && value:
			dst, text, depth = append(dst, '['), text[1:], depth+1
		case c == '}' && before != ',':
			dst, text, depth = append(dst, ']'), text[1:], depth-1
		case c == ',' && !value:
			dst, text = append(dst, ','), text[1:]
		case value && depth > 0 && c != '}' && c != ',':
			dst, text, ok = a.appendElement(dst, text)
			c = 'e'
		default:
			ok = false
		}
		if !ok {
			return dst, false
		}
		before = c
	}
	return dst, depth == 0 && before == '}' && len(text) == 0
}

// read is what a byte between elements means: the delimiter is a comma, and a comma
// that is none belongs to an element.
func (a *arrayWriter) read(c byte) byte {
	switch {
	case c == a.delimiter:
		return ','
	case c == ',':
		return 'e'
	}
	return c
}

// appendElement writes the element at the start of text and returns what
// follows it.
func (a *arrayWriter) appendElement(dst, text []byte) (out, rest []byte, ok bool) {
	if text[0] == '"' {
		a.scratch, rest, ok = unquote(a.scratch[:0], text)
		if !ok {
			return dst, text, false
		}
		dst, ok = a.element(dst, a.scratch)
		return dst, rest, ok
	}
	end := 0
	for end < len(text) && text[end] != a.delimiter && text[end] != '}' {
		end++
	}
	if string(text[:end]) == "NULL" {
		return append(dst, "null"...), text[end:], true
	}
	dst, ok = a.element(dst, text[:end])
	return dst, text[end:], ok
}

func skipBounds(text []byte) []byte {
	if len(text) == 0 || text[0] != '[' {
		return text
	}
	for i, c := range text {
		if c == '=' {
			return text[i+1:]
		}
	}
	return text
}

// unquote appends what stands between the quotes that text begins with,
// without its backslashes, and returns what follows.
func unquote(dst, text []byte) (out, rest []byte, ok bool) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return dst, text[i+1:], true
		case '\\':
			i++
			if i == len(text) {
				return dst, nil, false
			}
		}
		dst = append(dst, text[i])
	}
	return dst, nil, false
}

// hstoreWriter writes hstore as a JSON object of strings. Text that is not UTF-8
// cannot be a member's name and is refused.
type hstoreWriter struct {
	scratch []byte // a key or value without its quotes
	object  []byte
}

// appendObject writes the object itself.
func (h *hstoreWriter) appendObject(dst, text []byte) ([]byte, bool) {
	dst = append(dst, '{')
	for len(text) > 0 {
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		var ok bool
		if dst, text, ok = h.appendQuoted(dst, text); !ok {
			return dst, false
		}
		dst = append(dst, ':')
		rest, isNull := bytes.CutPrefix(text, []byte("=>NULL"))
		if isNull {
			dst, text = append(dst, "null"...), rest
		} else if text, ok = bytes.CutPrefix(text, []byte("=>")); ok {
			dst, text, ok = h.appendQuoted(dst, text)
		}
		if !ok {
			return dst, false
		}
		if text, ok = bytes.CutPrefix(text, []byte(", ")); !ok && len(text) > 0 {
			return dst, false
		}
	}
	return append(dst, '}'), true
}

// appendQuoted writes the quoted text that text begins with and returns what
// follows it.
func (h *hstoreWriter) appendQuoted(dst, text []byte) (out, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return dst, text, false
	}
	h.scratch, rest, ok = unquote(h.scratch[:0], text)
	return appendString(dst, h.scratch), rest, ok && utf8.Valid(h.scratch)
}

// appendText writes the object as a string.
func (h *hstoreWriter) appendText(dst, text []byte) (out []byte, ok bool) {
	h.object, ok = h.appendObject(h.object[:0], text)
	return appendString(dst, h.object), ok
}
