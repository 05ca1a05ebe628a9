package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/registry"
)

// schemas writes keys and values whose schemas a registry has. Where it is nil
// there is no registry.
type schemas struct {
	client *registry.Client
	enc    encoding.Typed
	kind   registry.Type
	// place is where a record tells its schema: in front of key and value, in
	// headers, or both.
	place string
	// at is the event at hand.
	at *entrain.Event
}

// schemaIDs are those of one shape in one topic.
type schemaIDs struct {
	// key and value are what stands in front of them.
	key, value []byte
	headers    []kgo.RecordHeader
}

// kinds are the languages of the formats with schemas.
var kinds = map[string]registry.Type{
	"avro": registry.Avro, "protobuf": registry.Protobuf, "native": registry.JSON, "flat": registry.JSON,
}

// checkFormat completes and checks the format and what it needs of a registry.
func (s *shape) checkFormat(cfg *registry.Config) error {
	if cfg == nil {
		if s.format == "avro" || s.format == "protobuf" || s.format == "json" {
			return fmt.Errorf("the format %s needs schema_registry: {url: …}", s.format)
		}
		_, err := encoding.New(s.format, s.options)
		return err
	}
	if s.format == "json" {
		s.format = "flat"
	}
	if kinds[s.format] == 0 {
		return fmt.Errorf("schema_registry is for the formats avro, protobuf, json, flat and native, not for %q", s.format)
	}
	if s.options.Debezium != nil || s.options.CloudEvents != nil {
		return errors.New("settings of the formats debezium and cloudevents are not for formats with a schema_registry")
	}
	if _, err := registry.New(*cfg); err != nil {
		return err
	}
	s.registry = cfg
	_, err := encoding.NewTyped(s.format, s.typed())
	return err
}

func (s *shape) typed() encoding.TypedOptions {
	return encoding.TypedOptions{AsString: s.registry.AsString}
}

// eachTable reports whether the format tells of a truncate by a record a table.
func (s *shape) eachTable() bool {
	return s.format == "flat" || kinds[s.format] != 0 && s.format != "native"
}

// newRegistered returns the form of a format with schemas. Each session asks the
// registry anew: it may have lost what it knew.
func newRegistered(w *writer) (form, error) {
	client, err := registry.New(*w.shape.registry)
	if err != nil {
		return nil, err
	}
	enc, err := encoding.NewTyped(w.shape.format, w.shape.typed())
	if err != nil {
		return nil, err
	}
	s := &schemas{client: client, enc: enc, kind: kinds[w.shape.format], place: w.shape.registry.SchemaID}
	if s.place == "" {
		s.place = registry.Prefix
		if s.kind == registry.JSON {
			s.place = registry.Header
		}
	}
	return &jsonForm{writer: w, schemas: s, tables: map[*entrain.Table]*target{}, part: partitionBy(w.partitioner)}, nil
}

// meet notes the event that is at hand.
func (s *schemas) meet(e *entrain.Event) {
	if s != nil {
		s.at = e
	}
}

// of returns the ids of a table's schemas, nil for that of events without a table,
// which are registered if they are not there.
func (s *schemas) of(ctx context.Context, t *entrain.Table, in *topic) (ids schemaIDs, err error) {
	if s == nil {
		return ids, nil
	}
	value, key := s.enc.Schemas(t)
	if ids.value, err = s.register(ctx, t, value, s.client.SubjectName(in.name, value.Name, registry.Value)); err != nil {
		return ids, err
	}
	ids.note(s, headerSchema, &ids.value)
	if t == nil || !encoding.HasKey(t) {
		return ids, nil
	}
	if ids.key, err = s.register(ctx, t, key, s.client.SubjectName(in.name, key.Name, registry.Key)); err != nil {
		return ids, err
	}
	ids.note(s, headerKeyID, &ids.key)
	return ids, nil
}

// register returns the id of a schema as text.
func (s *schemas) register(ctx context.Context, t *entrain.Table, schema encoding.Schema, subject string) ([]byte, error) {
	id, err := s.client.Register(ctx, registry.Request{
		Subject: subject, Type: s.kind, Schema: schema.Text, Table: t, At: "event " + s.at.ID(),
	})
	return strconv.AppendInt(nil, int64(id), 10), err
}

// note makes of an id what records tell of it.
func (i *schemaIDs) note(s *schemas, header string, id *[]byte) {
	if s.place != registry.Prefix {
		i.headers = append(i.headers, kgo.RecordHeader{Key: header, Value: *id})
	}
	if s.place == registry.Header {
		*id = nil
		return
	}
	n, _ := strconv.Atoi(string(*id)) // it was made of one
	*id = registry.AppendHeader(nil, s.kind, n)
}

// append writes an event's value; nothing if the format does not tell of it.
func (s *schemas) append(dst []byte, t *target, e *entrain.Event) ([]byte, error) {
	start := len(dst)
	dst = append(dst, t.schemas.value...)
	body := len(dst)
	dst, err := s.enc.Append(dst, e)
	if err != nil {
		return dst, s.refused(e, err)
	}
	if len(dst) == body {
		return dst[:start], nil
	}
	return dst, nil
}

// appendKey writes the key of a row, the first of two images.
func (s *schemas) appendKey(dst []byte, t *target, e *entrain.Event, images [2]entrain.Row) ([]byte, error) {
	dst, err := s.enc.AppendKey(append(dst, t.schemas.key...), e.Table, images[0], images[1])
	if err != nil {
		return dst, refusedBy(s.refused(e, err))
	}
	return dst, nil
}

// refused makes a stop of a value that has no place in its schema.
func (s *schemas) refused(e *entrain.Event, err error) error {
	var value *encoding.ValueError
	if !errors.As(err, &value) {
		return err
	}
	column := fmt.Sprintf("%s.%s", e.Table, value.Column.Name)
	return &entrain.Stop{
		Code: "value_unrepresentable",
		What: fmt.Sprintf("%s of table %s, event %s: the value %q of column %s (%s) has no place in the schema's form %s",
			e.Op, e.Table, e.ID(), value.Value, value.Column.Name, value.Column.Type, value.Form),
		Why: "another value in its place would be silently wrong, and so would none",
		Next: fmt.Sprintf("set in FILE, under schema_registry, as_string: [%s], which makes the column a string from here on, or leave the column out by transform; "+
			"then: entrain run FILE", strconv.Quote(column)),
		Data:  true,
		Table: e.Table,
		Err:   err,
	}
}

// refusedBy marks what an encoder says of an event, unless it is a stop already.
func refusedBy(err error) error {
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		return err
	}
	return &encodingError{err}
}
