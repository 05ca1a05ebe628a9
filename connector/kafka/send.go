package kafka

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/entrainsync/entrain"
)

// keep copies b into the slab; nil stays nil.
func (s *slab) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	start := len(s.buf)
	s.buf = append(s.buf, b...)
	return s.buf[start:len(s.buf):len(s.buf)]
}

// produce hands the slab's last record to the client, which tells later what
// became of it.
func (w *writer) produce(s *slab) {
	w.records.Add(1)
	w.client.Produce(w.stop, &s.records[s.n-1], s.done)
}

// topic returns a topic of events, which is made or looked at when the session
// meets it. With transactions its id is remembered: another topic of that name
// lacks what was confirmed.
func (w *writer) topic(ctx context.Context, name string) (*topic, error) {
	if t := w.topics[name]; t != nil {
		return t, nil
	}
	if len(name) > topicLimit {
		return nil, stopTopicName(name)
	}
	known, before := w.state.topics[name]
	var t *topic
	err := bounded(ctx, patience, func(ctx context.Context) (err error) {
		if before {
			if _, err := look(ctx, w.admin, name); errors.Is(err, kerr.UnknownTopicOrPartition) {
				return w.stopTopicGone(name, w.own.name)
			}
		}
		t, err = w.ensure(ctx, w.admin, w.events(name))
		return err
	})
	if denied(err) == "topic" {
		err = w.stopDenied(err, name)
	}
	if err != nil {
		return nil, err
	}
	now := topicRecord{V: stateVersion, ID: idText(t.id), Partitions: t.partitions}
	switch {
	case before && known.ID != now.ID:
		return nil, w.stopRecreated(name, w.own.name)
	case before && known.Partitions != 0 && known.Partitions != now.Partitions:
		return nil, w.stopRepartitioned(t, known.Partitions, w.own.name)
	}
	if w.exactly && known != now {
		if err := w.remember(ctx, w.own, topicKey+name, now); err != nil {
			return nil, err
		}
		w.state.topics[name] = now
	}
	w.topics[name] = t
	return t, nil
}

// rememberShape puts the shape of a table beside the position or the log, once.
func (w *writer) rememberShape(ctx context.Context, t *entrain.Table) error {
	version := fingerprint(t.Version)
	if !w.exactly || w.state.shapes[version] {
		return nil
	}
	to := w.own
	if w.log != nil {
		to = w.beside
	}
	w.state.shapes[version] = true
	return w.remember(ctx, to, shapeKey+version, shapeRecord{
		V: stateVersion, Schema: t.Schema, Table: t.Name, FullIdentity: t.FullIdentity, Columns: t.Columns,
	})
}

// rememberStream puts beside a log what its events do not carry of their stream,
// once a session. Definitions have no stream's history, and nothing to tell of it.
func (w *writer) rememberStream(ctx context.Context, tx *entrain.Transaction) error {
	s := tx.Stream
	w.version = tx.Version
	if w.log == nil || w.stream == s || s.Incarnation == "" {
		return nil
	}
	w.stream = s
	return w.remember(ctx, w.beside, streamName(s), streamRecord{V: stateVersion, Database: s.Database})
}

func streamName(s *entrain.Stream) string { return streamKey + s.Source + "/" + s.Incarnation }

// remember sends a record of the state.
func (w *writer) remember(ctx context.Context, to *topic, key string, value any) error {
	s, err := w.pool.take(ctx)
	if err != nil {
		return err
	}
	start := len(s.buf)
	if s.buf, err = appendJSON(s.buf, value); err != nil {
		return fmt.Errorf("remember %s: %w", key, err)
	}
	body := s.buf[start:len(s.buf):len(s.buf)]
	r := s.next()
	r.Topic, r.Timestamp, r.Key, r.Value = to.name, w.now, s.keep([]byte(key)), body
	w.produce(s)
	return nil
}
