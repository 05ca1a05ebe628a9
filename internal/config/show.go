package config

import (
	"encoding"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain/connector"
)

const masked = "***"

// Show returns the effective configuration as YAML: defaults filled in (those
// of a section once its connector has decoded it) and nothing that may be a
// credential: of connection URLs everything else is shown, of values of type
// [connector.Secret] what is harmless; values under telling keys and what came
// from ${…} are masked as a whole (P8).
func (f *File) Show() string {
	w := &shower{}
	w.line("name: " + quote(f.Name))
	if f.Source != nil {
		w.section("source", f.Source)
	}
	w.section("snapshot", f.Snapshot)
	w.value("transform:", reflect.ValueOf(f.Transform), f.rules)
	if f.Stream != nil {
		w.section("stream", f.Stream)
	}
	w.value("classes:", reflect.ValueOf(f.Classes), f.root.get("classes"))
	w.section("consumer", f.Consumer)
	w.sinks(f)
	if f.DeadLetter != nil {
		w.section("dead_letter", *f.DeadLetter)
	}
	if f.Reconciliation != nil {
		w.section("reconciliation", *f.Reconciliation)
	}
	w.section("retry", f.Retry)
	if f.Deduplication != nil {
		w.section("deduplication", *f.Deduplication)
	}
	w.section("state", f.State)
	w.section("pipeline", f.Pipeline)
	if f.Contracts != nil {
		w.section("contracts", *f.Contracts)
	}
	if f.Monitoring != nil {
		w.section("monitoring", *f.Monitoring)
	}
	w.line("on_error: " + quote(f.OnError))
	w.line("on_table_error: " + quote(f.OnTableError))
	return w.out.String()
}

// shower writes block-style YAML.
type shower struct {
	out    strings.Builder
	indent int
}

func (w *shower) line(text string) {
	w.out.WriteString(strings.Repeat("  ", w.indent) + text + "\n")
}

// section writes a part of the file, if there is something in it.
func (w *shower) section(key string, value any) {
	below := &shower{indent: w.indent + 1}
	if s, ok := value.(*Section); ok {
		below.connector(s)
	} else {
		below.fields(reflect.ValueOf(value), nil)
	}
	if below.out.Len() > 0 {
		w.line(key + ":")
		w.out.WriteString(below.out.String())
	}
}

// sinks writes a sink as sink:, one with a name of its own as an item of sinks:.
func (w *shower) sinks(f *File) {
	if len(f.Sinks) == 1 && f.Sinks[0].Name == DefaultSink {
		w.section("sink", f.Sinks[0])
		return
	}
	if len(f.Sinks) > 0 {
		w.line("sinks:")
	}
	for _, s := range f.Sinks {
		w.line("  - name: " + quote(s.Name))
		item := &shower{indent: w.indent + 2}
		item.connector(s)
		w.out.WriteString(item.out.String())
	}
}

// connector writes what a section has.
func (w *shower) connector(s *Section) {
	w.line("type: " + quote(s.Type))
	rest := s.node.without("type")
	if s.into != nil {
		w.fields(reflect.ValueOf(s.into).Elem(), rest)
		return
	}
	for _, e := range rest.entries {
		w.node(e.key.text+":", e.value)
	}
}

// fields writes a struct's fields; n is where they were read from, if it is
// known. Empty texts, lists and maps are left out.
func (w *shower) fields(v reflect.Value, n *node) {
	t := v.Type()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		w.value(name+":", v.Field(i), n.get(name))
	}
}

// value writes one value under its key or list dash; nothing if it is empty,
// or a number that is 0 and not in the file: that stands for a default.
func (w *shower) value(head string, v reflect.Value, n *node) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if text, ok := scalarText(v); ok {
		unset := n == nil && v.IsZero() && v.Kind() != reflect.Bool
		if text != "" && !unset {
			w.line(head + " " + maskedText(head, text, n))
		}
		return
	}
	below := &shower{indent: w.indent + 1}
	switch v.Kind() {
	case reflect.Struct:
		below.fields(v, n)
	case reflect.Slice:
		for i := range v.Len() {
			below.value("-", v.Index(i), n.item(i))
		}
	case reflect.Map:
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		for _, k := range keys {
			below.value(quote(k.String())+":", v.MapIndex(k), n.get(k.String()))
		}
	}
	if below.out.Len() > 0 {
		w.line(head)
		w.out.WriteString(below.out.String())
	}
}

// scalarText returns a single value as the file would have it; it is masked
// already if its type says so.
func scalarText(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String(), true
	case encoding.TextMarshaler:
		text, err := x.MarshalText()
		return string(text), err == nil
	}
	switch {
	case v.Kind() == reflect.String:
		return v.String(), true
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool()), true
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10), true
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10), true
	case v.CanFloat():
		return strconv.FormatFloat(v.Float(), 'g', -1, 64), true
	}
	return "", false
}

// maskedText is a value's text as it may be shown behind head, its key with a
// colon or a dash.
func maskedText(head, text string, n *node) string {
	key := strings.TrimSuffix(head, ":")
	var from []string
	if n != nil {
		from = n.from
	}
	switch {
	case connectionKey.MatchString(key):
		text = connector.Secret(text).String()
	case from != nil, secretKey.MatchString(key), n != nil && n.secret:
		text = masked
	}
	if from != nil {
		return quote(text) + " # " + strings.Join(from, ", ")
	}
	return quote(text)
}

// node writes a value as it stands in the file, under its key or list dash.
func (w *shower) node(head string, n *node) {
	switch n.kind {
	case null:
		w.line(head)
	case scalar:
		w.line(head + " " + maskedText(head, n.text, n))
	case mapping:
		w.line(head)
		w.indent++
		for _, e := range n.entries {
			w.node(quote(e.key.text)+":", e.value)
		}
		w.indent--
	case sequence:
		w.line(head)
		w.indent++
		for _, item := range n.items {
			w.node("-", item)
		}
		w.indent--
	}
}

// quote returns text as a YAML scalar that reads back as the same text.
func quote(text string) string {
	if plainText(text) {
		return text
	}
	return strconv.Quote(text)
}

// plainText reports whether text needs no quotes: it starts with none of
// YAML's signs, and nothing in it means anything to YAML.
func plainText(text string) bool {
	if text == "" || strings.ContainsRune("-:@+=", rune(text[0])) || strings.HasSuffix(text, ":") {
		return false
	}
	for _, r := range text {
		if r != '_' && r != '-' && r != '.' && r != '/' && r != ':' && r != '@' && r != '=' && r != '+' &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return text != "null"
}
