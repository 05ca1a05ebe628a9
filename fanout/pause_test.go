package fanout

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
)

// memory remembers pauses.
type memory struct {
	saved []Pause
	fails error
}

func (m *memory) Load() ([]Pause, error) { return m.saved, nil }

func (m *memory) Save(all []Pause) error {
	if m.fails == nil {
		m.saved = all
	}
	return m.fails
}

// start runs a fan-out until the function that it returns is called.
func (r *rig) start(pauses PauseStore, sinks ...Sink) (f *Fanout, end func()) {
	r.t.Helper()
	f = r.fanout(sinks...)
	f.opt.Pauses = pauses
	f.paused, _ = pauses.Load()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	<-time.After(time.Minute)
	return f, func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPause: a sink that stands still gets nothing, also after a restart, until it is
// resumed; then it gets all. The others go on.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pauses := newRig(t, rigConfig{}), &memory{}
		first := history(r.source, 0, 10)
		sinks := []Sink{r.sink("a", well), r.sink("b", well)}
		f, end := r.start(pauses, sinks...)
		do(t, f.Pause(Pause{Sink: "a"}))
		<-time.After(time.Minute)
		all := append(slices.Clone(first), history(r.source, 10, 20)...)
		<-time.After(time.Minute)
		r.expect("a", first)
		r.expect("b", all)
		if st := f.Sinks(); !st[0].Paused || st[1].Paused || st[0].Failed != "" {
			t.Errorf("status %+v", st)
		}
		end()
		f, end = r.start(pauses, sinks...)
		r.expect("a", first)
		if st := f.Sinks(); len(st) != 2 || !st[0].Paused {
			t.Errorf("after the restart: %+v", st)
		}
		if err := f.Resume(Pause{Sink: "a", Partition: "shop"}); err == nil {
			t.Error("a partition was resumed that stands still with its sink only")
		}
		do(t, f.Resume(Pause{Sink: "a"}))
		<-time.After(time.Minute)
		r.expect("a", all)
		do(t, f.Pause(Pause{Sink: "b", Partition: "shop"}))
		do(t, f.Pause(Pause{Sink: "b", Partition: "shop"}))
		do(t, f.Resume(Pause{Sink: "b"}))
		if err := f.Resume(Pause{Sink: "b"}); err == nil || len(pauses.saved) != 0 {
			t.Errorf("resumed twice: %v, %v", err, pauses.saved)
		}
		if err := f.Pause(Pause{Sink: "c"}); err == nil {
			t.Error("a sink was paused that there is not")
		}
		pauses.fails = errors.New("no room")
		if err := f.Pause(Pause{Sink: "b"}); !errors.Is(err, pauses.fails) || f.Sinks()[1].Paused {
			t.Errorf("what was not remembered stands still: %v", err)
		}
		end()
	})
}

// TestPausedIsNotDone: a bounded run does not end well while a sink stands still.
func TestPausedIsNotDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{bounded: true})
		history(r.source, 0, 10)
		f := r.fanout(r.sink("a", well))
		do(t, f.Pause(Pause{Sink: "a"}))
		if err := f.Run(t.Context()); err == nil {
			t.Error("the run ended without an error")
		}
	})
}

// versions commits a row and changes of it, and returns the ids of their events.
func versions(src *entraintest.MemorySource, n int) (ids []string) {
	table := entraintest.StandardTable()
	for i := range n {
		cells := []entraintest.Cell{entraintest.Text("1"), entraintest.Text(string(rune('a' + i))), entraintest.Null, entraintest.Null}
		e := entraintest.Update(table, cells...)
		if i == 0 {
			e = entraintest.Insert(table, cells...)
		}
		src.Commit(e)
		ids = append(ids, "source/memory/"+[]string{"1000", "2000", "3000", "4000", "5000", "6000"}[i]+"/0")
	}
	return ids
}

// TestReplay: a sink gets a stretch once more, up to where it is; a dry run only
// counts; the other sink gets nothing, and changes go on.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		ids := versions(r.source, 6)
		f, end := r.start(&memory{}, r.sink("a", well), r.sink("b", well))
		defer end()
		replay := Replay{Sink: "a", From: Mark{Version: 2000}, To: Mark{Version: 4000}, DryRun: true}
		got, err := f.Replay(t.Context(), replay)
		if name := entraintest.StandardTable().String(); err != nil || len(got) != 1 || got[0].Events[name] != 3 || got[0].Taken != 0 {
			t.Errorf("dry run: %+v, %v", got, err)
		}
		r.expect("a", ids)
		replay.DryRun = false
		if got, err = f.Replay(t.Context(), replay); err != nil || got[0].Taken != 3 {
			t.Errorf("replay: %+v, %v", got, err)
		}
		want := append(slices.Clone(ids), ids[1:4]...)
		r.expect("a", want)
		r.expect("b", ids)
		replay = Replay{Sink: "a", From: Mark{Version: 6000}, Wants: func(schema, name string) bool { return name == "other" }}
		if got, err = f.Replay(t.Context(), replay); err != nil || got[0].Taken != 0 {
			t.Errorf("another table: %+v, %v", got, err)
		}
		if _, err := f.Replay(t.Context(), Replay{Sink: "c"}); err == nil {
			t.Error("replayed for a sink that there is not")
		}
	})
}

// TestPausedInReplay: a sink that is paused while it gets a stretch once more ends the
// replay, which nobody would go on with.
func TestPausedInReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		versions(r.source, 6)
		f, end := r.start(&memory{}, r.sink("a", well))
		defer end()
		events := 0
		replay := Replay{Sink: "a", From: Mark{Version: 2000}, Wants: func(string, string) bool {
			if events++; events == 3 {
				do(t, f.Pause(Pause{Sink: "a"}))
				<-time.After(time.Minute) // the delivery ends
			}
			return true
		}}
		if got, err := f.Replay(t.Context(), replay); err == nil || !strings.Contains(err.Error(), "has ended") || got[0].Taken != 2 {
			t.Errorf("replay into a sink that was paused meanwhile: %+v, %v", got, err)
		}
	})
}

func TestParseMark(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]Mark{
		"2026-11-27T10:00:00Z": {Time: now.Add(-2 * time.Hour)},
		"2h":                   {Time: now.Add(-2 * time.Hour)},
		"0/16B3748":            {Version: 0x16b3748},
		"1/0@3":                {Version: 1 << 32},
	} {
		if got, err := ParseMark(text, now); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yesterday", "-2h", "0/0", "x/1", "7"} {
		if got, err := ParseMark(text, now); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
	tx := &entrain.Transaction{Version: 5, CommitTime: now}
	if (Mark{Version: 5}).compare(tx) != 0 || (Mark{Version: 6}).compare(tx) != -1 || (Mark{Time: now.Add(-1)}).compare(tx) != 1 {
		t.Error("compared wrongly")
	}
}

// TestPausedIsBehind: a sink that stands still shows how far it is behind, also after a
// restart; nothing while nothing waits, and nothing once it has all.
func TestPausedIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pauses := newRig(t, rigConfig{}), &memory{}
		r.source = entraintest.NewMemorySource(entraintest.MemorySourceConfig{BatchEvents: 3, Now: time.Now})
		history(r.source, 0, 10)
		f, end := r.start(pauses, r.sink("a", well))
		behind := func(seconds float64, some bool) {
			t.Helper()
			st := f.Sinks()[0].Status
			if st.LagSeconds < seconds || st.LagSeconds > seconds+1 || some != (st.LagBytes > 0) {
				t.Errorf("%.1f s and %d bytes behind, want %.1f s: %+v", st.LagSeconds, st.LagBytes, seconds, st)
			}
		}
		do(t, f.Pause(Pause{Sink: "a"}))
		<-time.After(20 * time.Second)
		behind(0, false)
		history(r.source, 10, 20)
		<-time.After(12 * time.Second)
		behind(12, true)
		<-time.After(5 * time.Minute)
		behind(312, true)
		end()
		f, end = r.start(pauses, r.sink("a", well)) // and a minute passes
		behind(372, true)
		do(t, f.Resume(Pause{Sink: "a"}))
		<-time.After(time.Minute)
		behind(0, false)
		end()
	})
}

// TestPausedBeforeItBegan: a sink that stands still and never had anything lacks all.
func TestPausedBeforeItBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, pauses := newRig(t, rigConfig{}), &memory{saved: []Pause{{Sink: "b"}}}
		r.source = entraintest.NewMemorySource(entraintest.MemorySourceConfig{Now: time.Now})
		history(r.source, 0, 10)
		f, end := r.start(pauses, r.sink("a", well), r.sink("b", well))
		if st := f.Sinks()[1]; !st.Paused || st.Failed != "" || st.Status.LagSeconds < 50 || st.Status.LagBytes <= 0 {
			t.Errorf("a sink that never began: %+v", st)
		}
		end()
	})
}

// TestPausedIsOverrun: that the stream has no longer what a sink lacks that stands still
// is shown while it does.
func TestPausedIsOverrun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, rigConfig{})
		history(r.source, 0, 10)
		log := &forgetful{Log: r.log}
		f := r.fanout(r.sink("a", well))
		f.opt.Stream = log
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		<-time.After(time.Minute)
		do(t, f.Pause(Pause{Sink: "a"}))
		<-time.After(time.Minute)
		if st := f.Sinks()[0]; st.Failed != "" {
			t.Errorf("before: %+v", st)
		}
		log.gone.Store(true)
		history(r.source, 10, 20)
		<-time.After(3 * time.Minute)
		if st := f.Sinks()[0]; !st.Paused || !strings.Contains(st.Failed, "stream_overrun") {
			t.Errorf("behind that: %+v", st)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// forgetful is a log that has lost what readers without a cursor would read.
type forgetful struct {
	stream.Log
	gone atomic.Bool
}

func (l *forgetful) Read(cursor string, p stream.Partition) entrain.Source {
	if cursor == "" && l.gone.Load() {
		return lost{}
	}
	return l.Log.Read(cursor, p)
}

type lost struct{}

func (lost) Open(context.Context, entrain.Position) (entrain.Reader, error) {
	return nil, &entrain.Stop{Code: codeOverrun, What: "gone"}
}
