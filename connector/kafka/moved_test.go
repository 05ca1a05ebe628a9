package kafka

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
)

// wrong is the log of the same pipeline with a slip in its topic.
func wrong(t *testing.T, address, id string) *Log {
	t.Helper()
	return newTestLog(t, address, id, func(c *LogConfig) { c.Topic = id + ".wrong" })
}

// uses are all ways to the topic of a log.
var uses = map[string]func(ctx context.Context, l *Log) error{
	"capture": func(ctx context.Context, l *Log) error {
		w, err := l.Open(ctx)
		if err != nil {
			return err
		}
		defer w.Close()
		_, err = w.(entrain.Positioner).Position(ctx)
		return err
	},
	"partitions": func(ctx context.Context, l *Log) error { _, err := l.Partitions(ctx); return err },
	"read": func(ctx context.Context, l *Log) error {
		r, err := l.Read("cursor", l.partition(0)).Open(ctx, entrain.Position{})
		if err == nil {
			err = r.Close()
		}
		return err
	},
	"assign": func(ctx context.Context, l *Log) error {
		enough := errors.New("enough")
		err := l.Assign(ctx, l.name+"-group", func(context.Context, stream.Partition) error { return enough })
		if errors.Is(err, enough) {
			return nil
		}
		return err
	},
	"milestone": func(ctx context.Context, l *Log) error { _, err := l.Milestone(ctx); return err },
	"teardown":  func(ctx context.Context, l *Log) error { _, err := l.Teardown(ctx); return err },
}

// TestTopicMoved: events that are in one topic are neither gone on with nor looked for in
// another, nothing is made, and who captures is not disturbed. The topic that is put back
// goes on; and so does another one when the old is forgotten.
func TestTopicMoved(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, batchOf(1, row("1")), batchOf(2, row("2")))
	before := topicsOf(t, address, id)
	for name, use := range uses {
		stop := wantStop(t, use(t.Context(), wrong(t, address, id)), "stream_topic_changed")
		if !strings.Contains(stop.What, id+".changes") || !strings.Contains(stop.What, id+".wrong") || !strings.Contains(stop.Next, "topic: "+id+".changes ") {
			t.Errorf("%s: %v", name, stop)
		}
	}
	f := wantFinding(t, found(t, wrong(t, address, id), nil), codeTopic, entrain.FindingError)
	if len(f.Fix) != 1 || f.Fix[0].Config != "stream:\n  topic: "+id+".changes\n" {
		t.Errorf("the fix is %+v", f.Fix)
	}
	if after := topicsOf(t, address, id); !slices.Equal(after, before) {
		t.Errorf("topics %v, and were %v", after, before)
	}
	write(t, w, batchOf(3, row("3"))) // it was not fenced
	for name, use := range uses {
		if err := use(t.Context(), newTestLog(t, address, id, nil)); err != nil {
			t.Errorf("%s of the topic that is put back: %v", name, err)
		}
	}
	if bad := found(t, newTestLog(t, address, id, nil), nil); len(bad) > 0 {
		t.Errorf("check of the topic that is put back: %+v", bad)
	}
	forget(t, l, topicKey+id+".changes")
	w, at := producer(t, wrong(t, address, id))
	if at.Offset != "3" {
		t.Errorf("the new topic goes on at %v", at)
	}
	write(t, w, batchOf(4, row("4")))
	wantStop(t, uses["capture"](t.Context(), newTestLog(t, address, id, nil)), "stream_topic_changed")
}

// forget takes a key out of the state, as the commands that are printed do.
func forget(t *testing.T, l *Log, key string) {
	t.Helper()
	state := l.sink.transactionalID + stateSuffix
	if err := l.sink.put(t.Context(), &kgo.Record{Topic: state, Key: []byte(key)}); err != nil {
		t.Fatal(err)
	}
}

// TestTopicMovedBeforeAnyEvent: a position alone ties nothing to a topic; a definition
// of a table does.
func TestTopicMovedBeforeAnyEvent(t *testing.T) {
	address, id := broker(t), unique()
	w, _ := producer(t, newTestLog(t, address, id, nil))
	write(t, w, batchOf(1))
	l := wrong(t, address, id)
	w, at := producer(t, l)
	if at.Offset != "1" {
		t.Errorf("the position is %v", at)
	}
	if err := l.MakeTable(t.Context(), entrain.ChunkTable{Table: entraintest.StandardTable()}); err != nil {
		t.Fatal(err)
	}
	write(t, w, batchOf(2))
	wantStop(t, uses["read"](t.Context(), newTestLog(t, address, id, nil)), "stream_topic_changed")
}

// TestTopicMovedUnderADelivery: a process that delivered before there was anything learns
// that the capture writes elsewhere.
func TestTopicMovedUnderADelivery(t *testing.T) {
	address, id := broker(t), unique()
	done := make(chan error, 1)
	l := wrong(t, address, id)
	work := make(chan struct{}, 1)
	go func() {
		done <- l.Assign(t.Context(), id+"-group", func(ctx context.Context, _ stream.Partition) error {
			work <- struct{}{}
			<-ctx.Done()
			return nil
		})
	}()
	<-work
	w, _ := producer(t, newTestLog(t, address, id, nil))
	write(t, w, batchOf(1, row("1")))
	wantStop(t, <-done, "stream_topic_changed")
}

// TestTopicOfOlderVersions: these did not note which topic the position is of. A topic that
// they wrote to is taken for the one; one that they did not is not.
func TestTopicOfOlderVersions(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	w, _ := producer(t, l)
	write(t, w, batchOf(1, row("1")))
	w.Close()
	old := func(key, value string) {
		t.Helper()
		if err := l.sink.put(t.Context(), &kgo.Record{Topic: id + stateSuffix, Key: []byte(key), Value: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	old(positionKey, `{"v":1,"incarnation":"inc","offset":"1"}`)
	wantStop(t, uses["read"](t.Context(), wrong(t, address, id)), "stream_topic_changed")
	w, at := producer(t, newTestLog(t, address, id, nil))
	if at.Offset != "1" {
		t.Errorf("the position is %v", at)
	}
	w.Close()
	// The topic was changed under an older version.
	makeTopic(t, address, id+".wrong", map[string]string{"cleanup.policy": "delete"})
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		made, err := look(ctx, adm, id+".wrong")
		if err == nil {
			old(topicKey+made.name, `{"v":1,"id":"`+idText(made.id)+`","partitions":1}`)
			old(madeKey+made.name, `{"v":1,"id":"`+idText(made.id)+`"}`)
		}
		return err
	})
	for _, l := range []*Log{newTestLog(t, address, id, nil), wrong(t, address, id)} {
		if err := uses["read"](t.Context(), l); err != nil {
			t.Errorf("read %s: %v", l.name, err)
		}
	}
	// What it made goes with the rest.
	list, err := wrong(t, address, id).Teardown(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removeAll(t, list)
	if left := topicsOf(t, address, id); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// TestTeardownBehindDefinitions: the definition of a table is nobody else's event, also as
// older versions wrote it.
func TestTeardownBehindDefinitions(t *testing.T) {
	address, id := broker(t), unique()
	for _, older := range []string{"", id} {
		l := newTestLog(t, address, id, nil)
		w, _ := producer(t, l)
		if err := l.MakeTable(t.Context(), entrain.ChunkTable{Table: entraintest.StandardTable()}); err != nil {
			t.Fatal(err)
		}
		write(t, w, batchOf(1, row("1")))
		settle(t, address, id)
		for _, r := range records(t, address, l.name+shapesSuffix) {
			if strings.HasPrefix(string(r.Key), streamKey) && strings.HasSuffix(string(r.Key), "/") {
				t.Errorf("beside the log is %s", r.Key)
			}
		}
		if got, _ := drain(t, l, l.partition(0), entrain.Position{}); len(got) != 2 || got[0].Schema == nil || got[0].Schema.Make == nil {
			t.Errorf("%d events", len(got))
		}
		w.Close()
		if older != "" {
			r := &kgo.Record{Topic: l.name + shapesSuffix, Key: []byte(streamKey + older + "/"), Value: []byte(`{"v":1,"database":""}`)}
			if err := l.sink.put(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		list, err := newTestLog(t, address, id, nil).Teardown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		removeAll(t, list)
		if left := topicsOf(t, address, id); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
	}
}
