package config

import (
	"errors"
	"strings"

	"github.com/entrainsync/entrain/connector"
)

// Section is a part of the file that a connector decodes: source:, stream:, sink:
// or an item of sinks:. Its type is known at once, the rest when the connector
// decodes it.
type Section struct {
	// Type is the word behind type:.
	Type string
	// Name of a sink: name:, else "sink". Other sections have none.
	Name string

	node *node
	into any // what the connector decoded into, for Show
}

// The types of a stream that the program itself gives a meaning.
const (
	streamNone     = "none"
	streamEmbedded = "embedded"
)

// DefaultSink is the name of a sink that has none in the file.
const DefaultSink = "sink"

// defaultSinkType is what a sink is that has no type.
const defaultSinkType = "postgres"

// Decode fills the connector's configuration, strictly: it is a
// [connector.Decode]. Its errors are [*Error] values.
func (s *Section) Decode(into any) error {
	s.into = into
	err := decode(s.node.without("type"), into)
	var mistake *Error
	if s.node.find("type").assumed && errors.As(err, &mistake) {
		mistake.Hint = strings.TrimPrefix(mistake.Hint+"\nthe sink has no type, which makes it one of type "+defaultSinkType, "\n")
	}
	return err
}

var _ connector.Decode = (*Section)(nil).Decode

// Place gives an error about the section, such as an unknown type, its place in the
// file: the key that it begins with ("postgres sink: conflict_strategy: …"), else the type.
func (s *Section) Place(err error) error {
	var placed *Error
	if err == nil || errors.As(err, &placed) {
		return err
	}
	at := s.node.meant(err.Error()).errorf("%s", err)
	at.Err = err
	return at
}

// meant is the value that an error is about: of the words before its colons, the first
// that is a key in the section, or several with dots between them.
func (n *node) meant(text string) *node {
	words := strings.Split(text, ": ")
	for _, word := range words[:len(words)-1] {
		at := n
		for key := range strings.SplitSeq(word, ".") {
			at = at.get(key)
		}
		if at != nil {
			return at
		}
	}
	return n.find("type")
}

func (s *Section) decodeNode(n *node) error {
	if n.kind != mapping {
		return n.errorf("expected keys and values, found %s", n.describe())
	}
	typ := n.find("type")
	if typ == n {
		return n.errorf("the key \"type\" is missing here")
	}
	s.node = n
	return decode(typ, &s.Type)
}

// External reports whether the file's stream is one that other processes reach,
// too.
func (f *File) External() bool { return f.Stream != nil && f.Stream.Type != streamEmbedded }

// Cursor names the cursor of a sink in the file's stream.
func (f *File) Cursor(sink *Section) string {
	switch group := f.Consumer.GroupID; {
	case group == "":
		return f.Name + "." + sink.Name
	case sink.Name == DefaultSink:
		return group
	default:
		return group + "." + sink.Name
	}
}

// takeSections checks how source, stream and sinks fit together.
func (f *File) takeSections(d *document) error {
	if d.Source.node != nil {
		f.Source = &d.Source
	}
	if d.Stream.node != nil && d.Stream.Type != streamNone {
		f.Stream = &d.Stream
	}
	if err := f.takeSinks(d); err != nil {
		return err
	}
	root := f.root
	if err := f.needsStream(d); err != nil {
		return err
	}
	switch {
	case f.Source == nil && !f.External():
		return root.errorf("the key \"source\" is missing here")
	case len(f.Sinks) == 0 && !f.External():
		return root.errorf("the key \"sink\" is missing here")
	case f.Source == nil && len(f.Sinks) == 0:
		return root.errorf("a stream alone moves nothing: a source, a sink or both are missing here")
	case f.Stream != nil && f.DeadLetter.On() && f.DeadLetter.File != "":
		return root.find("dead_letter", "file").errorf("behind a stream each delivery keeps its own: leave it out")
	case f.Stream != nil && f.OnTableError == "resync":
		return root.find("on_table_error").errorf("behind a stream a table cannot be left out for one sink: expected stop")
	case f.Stream != nil && f.Snapshot.Mode == "only":
		return root.find("snapshot", "mode").errorf("a stream goes on behind the rows: expected initial, never or when_needed")
	}
	return nil
}

// takeSinks gives the sinks their names.
func (f *File) takeSinks(d *document) error {
	if d.Sink.node != nil {
		f.Sinks = append(f.Sinks, &d.Sink)
		if len(d.Sinks) > 0 {
			return f.root.find("sinks").errorf("there is a sink: already: make it an item of sinks:")
		}
	}
	for i := range d.Sinks {
		f.Sinks = append(f.Sinks, &d.Sinks[i])
	}
	taken := map[string]bool{}
	for _, s := range f.Sinks {
		s.Name = DefaultSink
		name := s.node.find("name")
		if name != s.node {
			if err := decode(name, &s.Name); err != nil {
				return err
			}
		}
		switch {
		case !validName.MatchString(s.Name):
			return name.errorf("not fit to be a sink's name: %s", nameRule)
		case taken[s.Name] && name == s.node:
			return name.errorf("the key \"name\" is missing here: of several sinks each needs a name of its own")
		case taken[s.Name]:
			return name.errorf("another sink has the name %q", s.Name)
		}
		taken[s.Name] = true
		s.node = s.node.without("name") // no connector's
	}
	return nil
}
