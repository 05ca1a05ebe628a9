package letters

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/anyevent"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// TestForm: what is kept of an event makes the same event again.
func TestForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyevent.NewMaker(t).Event(t)
		if e.Op == entrain.OpSchema {
			t.Skip("is never a letter")
		}
		at := time.Unix(5, 7000).UTC()
		want := parking.Letter{Event: e, Reason: "r", Class: "c", Behind: "b", Attempts: 3, First: at, At: at}
		kept, err := Encode(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(&kept)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Encode(&got)
		if err != nil || !reflect.DeepEqual(again, kept) {
			t.Fatalf("%s\nbecame\n%s (%v)", kept.Body, again.Body, err)
		}
		if got.Event.ID() != e.ID() || got.Event.Settling != e.Settling || got.Attempts != 3 || !got.First.Equal(at) ||
			!slices.Equal(got.Event.After, e.After) || !slices.Equal(got.Event.Before, e.Before) {
			t.Fatalf("%+v became %+v", e, got.Event)
		}
		view, err := View(&kept)
		if err != nil || !json.Valid(view) {
			t.Fatalf("view %s: %v", view, err)
		}
	})
}

func letter(id string) entrain.DeadLetter {
	return entrain.DeadLetter{ID: id, Op: "insert", Reason: "no\nroom", Attempts: 1, Body: []byte(`{"v":1,"n":1.50}`)}
}

func ids(t *testing.T, f *File) []string {
	t.Helper()
	all, err := f.Letters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b entrain.DeadLetter) int { return cmp.Compare(a.ID, b.ID) })
	var names []string
	for _, l := range all {
		names = append(names, l.ID)
		if string(l.Body) != `{"v":1,"n":1.50}` || l.Reason != "no\nroom" {
			t.Errorf("letter %s is %+v", l.ID, l)
		}
	}
	return names
}

// TestFile: letters are kept once, survive, and go; what a crash cut off was never
// there, and one that does not read is a stop, not a loss.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "below", "letters.jsonl")
	f := NewFile(path, "shop")
	if got := ids(t, f); got != nil {
		t.Errorf("a file that is not there has %v", got)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(f.KeepLetters(t.Context(), []entrain.DeadLetter{letter("a"), letter("b")}))
	must(f.KeepLetters(t.Context(), []entrain.DeadLetter{letter("b"), letter("c")}))
	must(f.DropLetters(t.Context(), []string{"a", "x"}))
	if got := ids(t, NewFile(path, "shop")); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("kept %v", got)
	}
	text, err := os.ReadFile(path)
	must(err)
	must(os.WriteFile(path, append(text, `{"keep":[{"id":"d"`...), 0o600))
	if got := ids(t, f); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("with half a line: %v", got)
	}
	must(f.KeepLetters(t.Context(), []entrain.DeadLetter{letter("e")}))
	if got := ids(t, f); !slices.Equal(got, []string{"b", "c", "e"}) {
		t.Errorf("after half a line: %v", got)
	}
	must(os.WriteFile(path, append([]byte("garbage\n"), text...), 0o600))
	_, err = f.Letters(t.Context())
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != "dead_letters_damaged" || !strings.Contains(stop.Next, "sed -i.bak 1d "+path) {
		t.Errorf("damaged: %v", err)
	}
	must(os.WriteFile(path, text, 0o600))
	must(f.DropLetters(t.Context(), []string{"b", "c"}))
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("without letters the file has %d bytes", info.Size())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f.KeepLetters(ctx, []entrain.DeadLetter{letter("z")}) == nil {
		t.Error("kept without a context")
	}
}

// TestFileThatCannotBeRead: letters that the disk does not give are not taken for
// letters that are not there, of which the rest would be removed with the file.
func TestFileThatCannotBeRead(t *testing.T) {
	f := NewFile(t.TempDir(), "shop") // it opens, and reads as EISDIR
	if all, err := f.Letters(t.Context()); err == nil {
		t.Errorf("read %v out of what cannot be read", all)
	}
}

// TestFileOfTwo: two pipelines that are given one file lose none of each other's letters
// and deliver none of them; the way out that is printed works.
func TestFileOfTwo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.jsonl")
	shop, copies := NewFile(path, "shop"), NewFile(path, "shop:copy")
	if err := shop.KeepLetters(t.Context(), []entrain.DeadLetter{letter("a")}); err != nil {
		t.Fatal(err)
	}
	_, err := copies.Letters(t.Context())
	for _, err := range []error{err, copies.KeepLetters(t.Context(), []entrain.DeadLetter{letter("b")}), copies.DropLetters(t.Context(), []string{"a"})} {
		var stop *entrain.Stop
		if !errors.As(err, &stop) || stop.Code != "dead_letters_foreign" {
			t.Errorf("another one's letters: %v", err)
		}
	}
	var stop *entrain.Stop
	errors.As(err, &stop)
	_, command, _ := strings.Cut(stop.Next, "has this name now: ")
	command, _, _ = strings.Cut(command, "; then")
	if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if got := ids(t, copies); !slices.Equal(got, []string{"a"}) {
		t.Errorf("it has %v now", got)
	}
}

// TestFileFilledAtOnce: several that write one file keep all.
func TestFileFilledAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters.jsonl")
	var work sync.WaitGroup
	for w := range 4 {
		f := NewFile(path, "shop")
		work.Go(func() {
			for i := range 50 {
				if err := f.KeepLetters(t.Context(), []entrain.DeadLetter{letter(fmt.Sprint(w, "/", i))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	if got := ids(t, NewFile(path, "shop")); len(got) != 200 {
		t.Errorf("%d of 200 are there", len(got))
	}
}
