package config

import (
	"regexp"
	"strconv"
	"strings"
)

// Files of the form with slots, a broker and a consumer say some things in other
// words, or in other places. It is one grammar: reform puts what they say where our
// own words have it, before anything is decoded, and keeps its place in the file.

// moves are the keys that only stand elsewhere, or are called otherwise.
var moves = []move{
	{"source", "database", "source", "type"},
	{"stream", "broker", "stream", "type"},
	{"consumer", "deduplication", "", "deduplication"},
	{"consumer", "retry", "", "retry"},
	{"consumer", "dead_letter", "", "dead_letter"},
	{"sink", "dead_letter", "", "dead_letter"},
}

// move takes a key out of a section and puts it into another one; "" is the file.
type move struct{ section, key, into, as string }

// reform changes the tree, which is the caller's alone.
func reform(root *node) error {
	if root.kind != mapping {
		return nil // what decodes it says so
	}
	for _, m := range moves {
		if err := root.move(m); err != nil {
			return err
		}
	}
	for _, part := range []func(*node) error{reformSource, reformStream, reformSink} {
		if err := part(root); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) move(m move) error {
	from, into := n.get(m.section), n
	e, ok := from.take(m.key)
	if !ok {
		return nil
	}
	if m.into != "" {
		into = n.get(m.into)
	}
	return into.put(m.as, e)
}

// take removes a key; false if it is not there, or n is nil.
func (n *node) take(key string) (entry, bool) {
	if n == nil {
		return entry{}, false
	}
	for i, e := range n.entries {
		if e.key.text == key {
			n.entries = append(n.entries[:i:i], n.entries[i+1:]...)
			return e, true
		}
	}
	return entry{}, false
}

// put adds a value under a key of our own, at the place that it has in the file.
func (n *node) put(key string, e entry) error {
	if n.get(key) != nil {
		return e.key.errorf("the file says this already under %q: leave one of the two out", key)
	}
	named := *e.key
	named.text = key
	n.entries = append(n.entries, entry{&named, e.value})
	return nil
}

// scalarAt is a text that stands at the place of another value.
func (n *node) scalarAt(text string) *node {
	return &node{kind: scalar, src: n.src, line: n.line, column: n.column, width: n.width, text: text}
}

// reformSource takes slots, of which a file has one.
func reformSource(root *node) error {
	source := root.get("source")
	for _, section := range []*node{source, root.get("snapshot")} {
		if err := section.get("tables").get("include").someTables(); err != nil {
			return err
		}
	}
	if e, ok := source.take("logical_replication"); ok && e.value.text != "true" {
		return e.value.errorf("changes are read by logical replication only: expected true")
	}
	list, ok := source.take("slots")
	if !ok {
		return nil
	}
	slots := list.value
	switch {
	case slots.kind != sequence:
		return slots.expected("a list")
	case len(slots.items) == 0:
		return slots.errorf("expected a slot, such as {name: sync_primary, publication: sync_pub}")
	case len(slots.items) > 1:
		return slots.items[1].errorf("a pipeline reads one slot: give each further one a file of its own, with the same stream")
	}
	return source.reformSlot(list.key, slots.items[0])
}

// reformSlot puts a slot's keys into the source. What the file names so is made if
// it is missing.
func (n *node) reformSlot(at, slot *node) error {
	if slot.kind != mapping {
		return slot.expected("keys and values")
	}
	words := map[string]string{"name": "slot", "publication": "publication", "publications": "publications", "tables": "tables"}
	for _, e := range slot.entries {
		word := words[e.key.text]
		if word == "" {
			return e.key.unknown(map[string]field{"name": {}, "publication": {}, "publications": {}, "tables": {}})
		}
		if word == "tables" {
			if err := e.value.someTables(); err != nil {
				return err
			}
			e.value = includeTables(e.value)
		}
		if err := n.put(word, e); err != nil {
			return err
		}
	}
	if n.get("create") == nil {
		return n.put("create", entry{at, at.scalarAt("true")})
	}
	return nil
}

// someTables refuses a list without an item: it would take all tables, as if it were
// not there.
func (n *node) someTables() error {
	if n == nil || n.kind != sequence || len(n.items) > 0 {
		return nil
	}
	return n.errorf("the list is empty: name the tables, such as [public.orders], or take it out of the file, which takes all")
}

// includeTables makes of a list of tables what source.tables is. A name without a
// schema is one of public.
func includeTables(list *node) *node {
	if list.kind != sequence {
		return list
	}
	for _, item := range list.items {
		if item.kind == scalar && item.text != "" && !strings.Contains(item.text, ".") {
			item.text = "public." + item.text
		}
	}
	tables := *list
	tables.kind, tables.items = mapping, nil
	tables.entries = []entry{{list.scalarAt("include"), list}}
	return &tables
}

var wholeNumber = regexp.MustCompile(`^[0-9]+$`)

// reformStream takes hours, and whether there is a registry, as words.
func reformStream(root *node) error {
	s := root.get("stream")
	for _, end := range append(sinkNodes(root), s) {
		if end.kafka() && end.get("partitions").isZero() {
			return end.get("partitions").errorf("a topic has a partition at least: expected 1 or more, or take it out of the file: one for a topic that is made, and as many as there are otherwise")
		}
	}
	if e, ok := s.take("retention_hours"); ok {
		if e.value.kind != scalar || !wholeNumber.MatchString(e.value.text) {
			return e.value.expected("a whole number of hours, such as 168")
		}
		if e.value.isZero() {
			return e.value.errorf("0 hours keep nothing: expected 1 or more, such as 168, or take it out of the file, which leaves it to the broker")
		}
		e.value.text += "h"
		if err := s.put("retention", e); err != nil {
			return err
		}
	}
	if f := s.get("format"); f != nil && s.find("type").text == "kafka" {
		if f.text != "json" && f.text != "native" {
			return f.errorf("the records of a stream are JSON in the native form: expected json; a sink of type kafka has the other formats")
		}
		s.take("format")
	}
	return s.reformRegistry()
}

// reformRegistry makes of schema_registry: true and schema_registry_url the section
// that it is.
func (n *node) reformRegistry() error {
	url, given := n.take("schema_registry_url")
	at := n.get("schema_registry")
	switch {
	case at == nil && given:
		return url.key.errorf("schema_registry: true is missing beside it")
	case at == nil || at.kind != scalar:
		return nil
	case at.text == "false":
		n.take("schema_registry")
		return nil
	case at.text != "true":
		return at.expected("true, false or a section with a url")
	case !given:
		return at.errorf("the registry's address is missing: add schema_registry_url: http://…")
	}
	url.value.conceal()
	key := *url.key
	key.text = "url"
	at.kind, at.text, at.entries = mapping, "", []entry{{&key, url.value}}
	return nil
}

// reformSink gives sinks the type that they have by default, and takes what only
// names how the stream is divided.
func reformSink(root *node) error {
	for _, s := range sinkNodes(root) {
		if err := s.reformConsistency(root.get("stream")); err != nil {
			return err
		}
		if s.kind == mapping && s.get("type") == nil {
			typ := s.scalarAt(defaultSinkType)
			typ.assumed = true
			s.entries = append(s.entries, entry{s.scalarAt("type"), typ})
		}
	}
	return nil
}

// reformConsistency: what is delivered by partition is consistent in the end only;
// one partition keeps transactions whole.
func (n *node) reformConsistency(stream *node) error {
	e, ok := n.take("consistency")
	if !ok {
		return nil
	}
	many := stream.get("partitions")
	switch {
	case e.value.text == "eventual":
		return nil
	case e.value.text != "transactional":
		return e.value.errorf("expected eventual or transactional")
	case many != nil && many.text != "1":
		return e.value.errorf("a stream of %s partitions takes transactions apart: expected eventual here, or partitions: 1", many.text)
	}
	return nil
}

// sinkNodes are the sections of all sinks.
func sinkNodes(root *node) (sinks []*node) {
	if s := root.get("sink"); s != nil {
		sinks = append(sinks, s)
	}
	if list := root.get("sinks"); list != nil {
		sinks = append(sinks, list.items...)
	}
	return sinks
}

// kafka reports whether a section is of that type.
func (n *node) kafka() bool {
	typ := n.get("type")
	return typ != nil && typ.text == "kafka"
}

// isZero reports whether a value is the number 0; none is not.
func (n *node) isZero() bool {
	if n == nil || n.kind != scalar {
		return false
	}
	v, err := strconv.Atoi(n.text)
	return err == nil && v == 0
}
