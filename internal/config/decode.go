package config

import (
	"encoding"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector"
)

// nodeDecoder is a type that reads its own node.
type nodeDecoder interface{ decodeNode(*node) error }

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[connector.ByteSize]()
)

// decode fills into, a pointer, from n. What the file leaves out keeps its
// value. Struct fields are named by `yaml:"name"`; `yaml:"name,required"` must
// be in the file; fields without a name are not configuration. Supported are
// structs, pointers, slices, maps with text keys, text, booleans, numbers,
// durations and types with UnmarshalText.
func decode(n *node, into any) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return n.errorf("the program cannot fill a %T", into)
	}
	return n.into(v.Elem())
}

func (n *node) into(v reflect.Value) error {
	if v.CanAddr() {
		if d, ok := v.Addr().Interface().(nodeDecoder); ok {
			return d.decodeNode(n)
		}
		if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
			return n.intoText(u, v.Type())
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return n.into(v.Elem())
	case reflect.Struct:
		return n.intoStruct(v)
	case reflect.Map:
		return n.intoMap(v)
	case reflect.Slice:
		return n.intoSlice(v)
	}
	return n.intoScalar(v)
}

// expected reports that the node is not of the form that the field takes.
func (n *node) expected(what string) error {
	return n.errorf("expected %s, found %s", what, n.describe())
}

func (n *node) intoText(u encoding.TextUnmarshaler, t reflect.Type) error {
	what := "a text"
	if t == sizeType {
		what = "a size such as 64MB, 1GB or 512kB"
	}
	if n.kind != scalar {
		return n.expected(what)
	}
	err := u.UnmarshalText([]byte(n.text))
	switch {
	case err == nil:
		return nil
	case t == sizeType:
		return n.expected(what)
	case n.secret || n.from != nil:
		return n.errorf("%s cannot be used here", n.describe()) // err may quote it
	}
	return n.errorf("%s", err)
}

func (n *node) intoStruct(v reflect.Value) error {
	fields := structFields(v.Type())
	if n.kind != mapping {
		return n.notASection(fields)
	}
	for _, e := range n.entries {
		f, ok := fields[e.key.text]
		if !ok {
			return e.key.unknown(fields)
		}
		if err := e.value.into(v.Field(f.index)); err != nil {
			return err
		}
	}
	for _, name := range sortedNames(fields) {
		if fields[name].required && n.get(name) == nil {
			return n.errorf("the key %q is missing here", name)
		}
	}
	return nil
}

// notASection reports a single value, or a list, where keys are expected.
func (n *node) notASection(fields map[string]field) error {
	err := n.errorf("expected keys and values, found %s", n.describe())
	if known := sortedNames(fields); len(known) > 0 {
		err.Hint = fmt.Sprintf("this is a section, with keys of its own below it: {%s: …}; known here: %s", known[0], strings.Join(known, ", "))
	}
	return err
}

func (n *node) unknown(fields map[string]field) error {
	known := sortedNames(fields)
	err := n.errorf("unknown key %q", n.text)
	switch near := nearest(n.text, known); {
	case near != "":
		err.Hint = fmt.Sprintf("did you mean %q?", near)
	case len(known) > 0:
		err.Hint = "known here: " + strings.Join(known, ", ")
	}
	return err
}

type field struct {
	index    int
	required bool
}

func structFields(t reflect.Type) map[string]field {
	fields := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = field{i, option == "required"}
		}
	}
	return fields
}

func sortedNames(fields map[string]field) []string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (n *node) intoMap(v reflect.Value) error {
	if n.kind != mapping || v.Type().Key().Kind() != reflect.String {
		return n.expected("keys and values")
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for _, e := range n.entries {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := e.value.into(value); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(e.key.text).Convert(v.Type().Key()), value)
	}
	v.Set(m)
	return nil
}

func (n *node) intoSlice(v reflect.Value) error {
	if n.kind != sequence {
		return n.expected("a list")
	}
	s := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		if err := item.into(s.Index(i)); err != nil {
			return err
		}
	}
	v.Set(s)
	return nil
}

func (n *node) intoScalar(v reflect.Value) error {
	what := scalarName(v.Type())
	if n.kind != scalar {
		return n.expected(what)
	}
	switch {
	case v.Type() == durationType:
		d, err := time.ParseDuration(n.text)
		if err != nil {
			return n.expected(what)
		}
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		v.SetString(n.text)
	case v.Kind() == reflect.Bool && (n.text == "true" || n.text == "false"):
		v.SetBool(n.text == "true")
	case v.CanInt():
		i, err := strconv.ParseInt(n.text, 10, v.Type().Bits())
		if err != nil {
			return n.expected(what)
		}
		v.SetInt(i)
	case v.CanUint():
		u, err := strconv.ParseUint(n.text, 10, v.Type().Bits())
		if err != nil {
			return n.expected(what)
		}
		v.SetUint(u)
	case v.CanFloat():
		f, err := strconv.ParseFloat(n.text, v.Type().Bits())
		if err != nil {
			return n.expected(what)
		}
		v.SetFloat(f)
	default:
		return n.expected(what)
	}
	return nil
}

// scalarName says what a field of the type takes.
func scalarName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 20s, 5m or 1h30m"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return "a whole number" + limits(t)
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return "a whole number above or equal to 0" + limits(t)
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number"
	}
	return "something the program cannot fill"
}

// limits names the largest value of the small number types.
func limits(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return fmt.Sprintf(" up to %d", uint64(1)<<(t.Bits()-1)-1)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf(" up to %d", uint64(1)<<t.Bits()-1)
	}
	return ""
}
