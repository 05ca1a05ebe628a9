package kafka

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
)

// topicsOf are the topics whose names begin so, sorted.
func topicsOf(t *testing.T, address, prefix string) []string {
	t.Helper()
	var names []string
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		all, err := adm.ListTopics(ctx)
		for _, name := range all.Names() {
			if strings.HasPrefix(name, prefix) {
				names = append(names, name)
			}
		}
		return err
	})
	slices.Sort(names)
	return names
}

// lived has a log written and its cursor stored.
func lived(t *testing.T, l *Log, cursor string) {
	t.Helper()
	l.Cursors([]string{cursor})
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	from, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil || !from.IsZero() {
		t.Fatalf("the stream begins at %v, %v", from, err)
	}
	write(t, w, batchOf(1, row("1")), batchOf(2, row("2")))
	if err := l.commit(t.Context(), cursor, 0, 1); err != nil {
		t.Fatal(err)
	}
}

func removeAll(t *testing.T, list []entrain.Removal) {
	t.Helper()
	for _, r := range list {
		for range 2 { // what is gone is no error
			if err := r.Do(t.Context()); err != nil {
				t.Fatalf("remove %s: %v", r.What, err)
			}
		}
	}
}

// TestTeardownLog: topics that we made, and the group, go; the next run begins anew.
func TestTeardownLog(t *testing.T) {
	address, id := broker(t), unique()
	fresh := func() *Log { return newTestLog(t, address, id, nil) }
	for range 2 {
		if list, err := fresh().Teardown(t.Context()); err != nil || len(list) > 0 {
			t.Fatalf("before: %+v, %v", list, err)
		}
		lived(t, fresh(), id+".warehouse")
		l := fresh()
		l.Cursors([]string{id + ".warehouse"})
		list, err := l.Teardown(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var commands []string
		for _, r := range list {
			commands = append(commands, strings.ReplaceAll(r.SQL, " --bootstrap-server "+address, ""))
		}
		want := []string{"kafka-consumer-groups.sh --delete --group " + id + ".warehouse", "kafka-topics.sh --delete --topic " + id + ".changes",
			"kafka-topics.sh --delete --topic " + id + ".changes.shapes", "kafka-topics.sh --delete --topic " + id + ".state"}
		if !slices.Equal(commands, want) {
			t.Fatalf("it would type %q, want %q", commands, want)
		}
		removeAll(t, list)
		if left := topicsOf(t, address, id); len(left) > 0 {
			t.Errorf("left are %v", left)
		}
		if list, err := l.Partitions(t.Context()); err != nil || len(list) > 0 {
			t.Errorf("behind it there are the partitions %v, %v", list, err)
		}
		admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
			groups, err := adm.ListGroups(ctx)
			if _, there := groups[id+".warehouse"]; there {
				t.Error("the group is left")
			}
			return err
		})
	}
}

// TestTeardownKeeps: what others made stays, without what we remember in it; so does
// a topic that another producer writes to.
func TestTeardownKeeps(t *testing.T) {
	address, id := broker(t), unique()
	for _, name := range []string{".changes", ".changes.shapes", ".state"} {
		policy := "compact"
		if name == ".changes" {
			policy = "delete"
		}
		makeTopic(t, address, id+name, map[string]string{"cleanup.policy": policy})
	}
	for range 2 {
		l := newTestLog(t, address, id, nil)
		lived(t, l, id+".warehouse")
		list, err := l.Teardown(t.Context())
		if err != nil || len(list) != 2 || !strings.Contains(list[1].What, "did not make") {
			t.Fatalf("%+v, %v", list, err)
		}
		removeAll(t, list)
		if left := topicsOf(t, address, id); len(left) != 3 {
			t.Errorf("left are %v", left)
		}
	}
}

// A topic that another producer writes to stays.
func TestTeardownOfASharedTopic(t *testing.T) {
	address, id := broker(t), unique()
	l := newTestLog(t, address, id, nil)
	lived(t, l, id+".warehouse")
	other := newTestLog(t, address, id+"o", func(c *LogConfig) { c.Topic = id + ".changes" })
	w, err := other.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.(entrain.Positioner).Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := batchOf(1, row("9"))
	theirs := *b.Events[0].Tx.Stream
	theirs.Source, theirs.Incarnation = "theirs", "other"
	for i := range b.Events {
		b.Events[i].Tx.Stream = &theirs
	}
	write(t, w, b)
	list, err := l.Teardown(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	removeAll(t, list)
	if left := topicsOf(t, address, id); !slices.Equal(left, []string{id + ".changes", id + ".changes.shapes", id + "o.state"}) {
		t.Errorf("left are %v", left)
	}
}

// TestTeardownSink: its state goes, the topics that others read stay.
func TestTeardownSink(t *testing.T) {
	address, id := broker(t), unique()
	sink := newTestSink(t, address, id, nil)
	if list, err := sink.Teardown(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("before: %+v, %v", list, err)
	}
	w, _ := open(t, sink)
	write(t, w, batchOf(1, row("1")))
	w.Close()
	list, err := sink.Teardown(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	removeAll(t, list)
	if left := topicsOf(t, address, id); !slices.Equal(left, []string{id + ".public.conformance"}) {
		t.Errorf("left are %v", left)
	}
	if _, at := open(t, sink); !at.IsZero() {
		t.Errorf("it begins at %v", at)
	}
}
