package transform

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/entrainsync/entrain"
)

// knowledge is how much of an image the log carried.
type knowledge uint8

const (
	knownAsLogged knowledge = iota // what the row's states say
	knownKey                       // only what identifies the row
	knownNothing
)

// image is one image of a row as an expression sees it.
type image struct {
	table *entrain.Table
	row   entrain.Row // nil: there is no such image, all columns are NULL
	known knowledge

	missed int  // a column that was asked for and not logged, -1 if none was
	tested bool // has() was asked about it, and had to answer something
}

// set shows the expression another row.
func (m *image) set(row entrain.Row, known knowledge) {
	m.row, m.known, m.missed, m.tested = row, known, -1, false
}

// state returns the state of column i and its text.
func (m *image) column(i int) ([]byte, entrain.State) {
	switch {
	case m.known == knownNothing, m.known == knownKey && !m.table.Columns[i].Key:
		return nil, entrain.Unchanged
	case m.row == nil:
		return nil, entrain.Null
	}
	return m.row.Column(i, len(m.table.Columns))
}

// noValue stands for NULL, and for what the log did not carry. Whatever is
// computed of it is unknown, too, unless the rest decides: as in SQL.
var noValue = types.NewUnknown(1, nil)

// rowTypes tells CEL the columns of one table.
type rowTypes struct {
	types.Provider
	table *entrain.Table
	names quoted
}

const rowTypeName = "row"

// FindStructType knows the row beside CEL's own types.
func (t rowTypes) FindStructType(name string) (*types.Type, bool) {
	if name == rowTypeName {
		return types.NewTypeTypeWithParam(types.NewObjectType(rowTypeName)), true
	}
	return t.Provider.FindStructType(name)
}

// FindStructFieldType returns a column's type and how its value is read.
func (t rowTypes) FindStructFieldType(typ, field string) (*types.FieldType, bool) {
	if typ != rowTypeName {
		return t.Provider.FindStructFieldType(typ, field)
	}
	name := t.names.column(field)
	for i := range t.table.Columns {
		if c := &t.table.Columns[i]; c.Name == name {
			return &types.FieldType{Type: typeOf(c.Kind), IsSet: isSet(i), GetFrom: getFrom(i, c)}, true
		}
	}
	return nil, false
}

// typeOf is the type table of docs/transform.md.
func typeOf(k entrain.Kind) *cel.Type {
	switch k {
	case entrain.Integer:
		return cel.IntType
	case entrain.Decimal:
		return decimalType
	case entrain.Float:
		return cel.DoubleType
	case entrain.Boolean:
		return cel.BoolType
	case entrain.Bytes:
		return cel.BytesType
	}
	return cel.StringType
}

func isSet(i int) ref.FieldTester {
	return func(target any) bool {
		m, ok := target.(*image)
		if !ok {
			return false
		}
		_, state := m.column(i)
		if state == entrain.Unchanged {
			m.missed, m.tested = i, true
		}
		return state == entrain.Present
	}
}

func getFrom(i int, c *entrain.Column) ref.FieldGetter {
	return func(target any) (any, error) {
		m, ok := target.(*image)
		if !ok {
			return nil, fmt.Errorf("column %q of something that is no row", c.Name)
		}
		text, state := m.column(i)
		switch state {
		case entrain.Present:
			return valueOf(c, text)
		case entrain.Unchanged:
			m.missed = i
		}
		return noValue, nil
	}
}

// valueError is a value that its column's type cannot hold in an expression.
// The value is not in it (P8).
type valueError struct{ column, what string }

func (e *valueError) Error() string {
	return fmt.Sprintf("the value of column %q is %s", e.column, e.what)
}

// valueOf makes a value of a column's canonical text.
func valueOf(c *entrain.Column, text []byte) (ref.Val, error) {
	switch c.Kind {
	case entrain.Integer:
		n, err := strconv.ParseInt(string(text), 10, 64)
		if err != nil {
			return nil, &valueError{c.Name, "no integer of 64 bits"}
		}
		return types.Int(n), nil
	case entrain.Decimal:
		d, err := parseDecimal(string(text))
		if err != nil {
			return nil, &valueError{c.Name, "no decimal number"}
		}
		return d, nil
	case entrain.Float:
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return nil, &valueError{c.Name, "no number"}
		}
		return types.Double(f), nil
	case entrain.Boolean:
		return types.Bool(len(text) == 1 && text[0] == 't'), nil
	case entrain.Bytes:
		if len(text) < 2 {
			return nil, &valueError{c.Name, "not in hexadecimal form"}
		}
		raw, err := hex.AppendDecode(nil, text[2:])
		if err != nil {
			return nil, &valueError{c.Name, "not in hexadecimal form"}
		}
		return types.Bytes(raw), nil
	}
	return types.String(text), nil
}
