package redis

import (
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
)

// TestTeardown: what this pipeline left is named and goes, by us or by the command;
// what others have stays, and the next run begins anew.
func TestTeardown(t *testing.T) {
	place := at(t)
	l := newLog(t, place)
	s, err := NewSink(SinkConfig{Server: place, Pipeline: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewLog(Config{Server: place, Producer: "other"})
	if err != nil {
		t.Fatal(err)
	}
	c := admin(t, place)
	for _, how := range []string{"ours", "by hand"} {
		nothingLeft(t, l, s)
		w, from := opened(t, l)
		if !from.IsZero() {
			t.Fatalf("%s: the stream begins at %v", how, from)
		}
		writeTxs(t, w, 1, 3)
		otherWriter, _ := opened(t, other)
		sink, at := openSink(t, s)
		if !at.IsZero() {
			t.Fatalf("%s: the sink begins at %v", how, at)
		}
		if err := writeTx(t.Context(), sink, 1); err != nil {
			t.Fatal(err)
		}
		for _, closed := range []entrain.Writer{w, otherWriter, sink} {
			closed.Close()
		}
		for _, end := range []entrain.Teardowner{l, s} {
			list, err := end.Teardown(t.Context())
			if err != nil || len(list) != 1 || list[0].What == "" {
				t.Fatalf("%s: %+v, %v", how, list, err)
			}
			if how == "ours" {
				err = list[0].Do(t.Context())
			} else {
				runAdvice(t, place, strings.ReplaceAll(list[0].SQL, " && ", "; "))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	keys, err := c.Keys(t.Context(), place.Prefix+":*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if strings.Contains(key, "shop") {
			t.Errorf("the key %s is left", key)
		}
	}
	if list, err := other.Teardown(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("of the other pipeline: %v, %v", list, err)
	}
}

func nothingLeft(t *testing.T, ends ...entrain.Teardowner) {
	t.Helper()
	for _, end := range ends {
		if list, err := end.Teardown(t.Context()); err != nil || len(list) > 0 {
			t.Fatalf("left are %v, %v", list, err)
		}
	}
}
