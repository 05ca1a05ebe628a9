package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// foreignLog is a source whose log has bytes that are not of the pipeline, and of
// which it hears all the time.
type foreignLog struct {
	*entraintest.MemorySource
	bytes int64
}

func (f foreignLog) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	r, err := f.MemorySource.Open(ctx, from)
	return foreignReader{r, f.bytes}, err
}

type foreignReader struct {
	entrain.Reader
	bytes int64
}

func (r foreignReader) Lag() entrain.Lag { return entrain.Lag{Bytes: r.bytes, Heard: time.Now()} }

// late is a pipeline whose sink is slow or away, as a test wants it.
type late struct {
	*pipeline.Pipeline
	t      *testing.T
	source *entraintest.MemorySource
	ahead  time.Duration // of the source's clock
	takes  time.Duration // a write
	away   atomic.Bool
}

func (l *late) start() (end func()) {
	l.source = entraintest.NewMemorySource(entraintest.MemorySourceConfig{Now: func() time.Time { return time.Now().Add(l.ahead) }})
	sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
		Keeps: entraintest.KeepsPosition,
		BeforeWrite: func(context.Context, *entrain.Batch) error {
			if <-time.After(l.takes); l.away.Load() {
				return fmt.Errorf("no route: %w", entrain.ErrDisconnected)
			}
			return nil
		},
	})
	var err error
	if l.Pipeline, err = pipeline.New(pipeline.Options{Source: foreignLog{l.source, 168}, Sink: sink}); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	}
}

// commit makes changes after a while.
func (l *late) commit(after time.Duration) {
	<-time.After(after)
	one := entraintest.Text(fmt.Sprint(time.Now().UnixNano()))
	l.source.Commit(entraintest.Insert(entraintest.StandardTable(), one, one, one, one))
}

// behind checks the lag after a while, to a tenth of a second.
func (l *late) behind(after time.Duration, want float64) {
	l.t.Helper()
	<-time.After(after)
	if st := l.Status(); math.Abs(st.LagSeconds-want) > 0.1 {
		l.t.Errorf("%.2f s behind, want %.2f: %+v", st.LagSeconds, want, st)
	}
}

// TestLagIsTheAgeOfWhatWaits: the lag is how long the oldest change waits that is not
// delivered, however long nothing came before it; of a log that has nothing of ours
// there is none.
func TestLagIsTheAgeOfWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &late{t: t, takes: 15 * time.Second}
		defer l.start()()
		l.behind(time.Second, 0)
		l.commit(0)
		l.behind(10*time.Second, 10)
		l.commit(0) // it waits behind the first
		l.behind(4*time.Second, 14)
		l.behind(2*time.Second, 6) // the first is delivered
		l.behind(15*time.Second, 0)
		l.commit(161 * time.Second)
		l.behind(3*time.Second, 3)
		l.behind(13*time.Second, 0)
	})
}

// TestLagOfClocks: the source's clock is ahead: what waits here waits all the same,
// and the lag is never negative.
func TestLagOfClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &late{t: t, takes: 15 * time.Second, ahead: time.Hour}
		defer l.start()()
		l.commit(time.Second)
		l.behind(10*time.Second, 10)
		l.behind(10*time.Second, 0)
	})
}

// TestLagOfBrokenSessions: what waits while no session gets further keeps its age;
// when the sessions do, or have nothing to do, nothing of it is left, though the log has
// bytes that are not ours and nobody looked meanwhile.
func TestLagOfBrokenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &late{t: t, takes: time.Second}
		defer l.start()()
		l.commit(time.Minute)
		<-time.After(5 * time.Second)
		l.away.Store(true)
		l.commit(0)
		l.behind(30*time.Second, 30)
		l.away.Store(false)
		l.behind(20*time.Second, 0)
		l.source.Disconnect(entrain.ErrDisconnected)
		l.behind(10*time.Second, 0)
		l.source.Disconnect(entrain.ErrDisconnected)
		l.commit(time.Minute)
		l.behind(500*time.Millisecond, 0.5)
		l.source.Disconnect(entrain.ErrDisconnected)
		l.commit(time.Minute)
		l.behind(500*time.Millisecond, 0.5)
	})
}

// TestRetriesSaySo: what is logged of a session that will start again says when that
// is, with a circuit that is open, too, and nothing that a person would type. The status
// has that.
func TestRetriesSaySo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		var said bytes.Buffer
		refuses := true
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{
			Keeps: entraintest.KeepsPosition,
			BeforeWrite: func(_ context.Context, b *entrain.Batch) error {
				if len(b.Events) == 0 || !refuses {
					return nil
				}
				failed := []entrain.FailedEvent{{ID: b.Events[0].ID(), Op: entrain.OpInsert, Err: errors.New("does not fit")}}
				return &entrain.Stop{Code: "row_refused", Why: "no room", Next: "SELECT 1; then: entrain run FILE", Data: true, Err: &entrain.BatchError{Failed: failed}}
			},
			BeforeOpen: func(context.Context) error {
				if !refuses {
					return fmt.Errorf("no route: %w", entrain.ErrDisconnected)
				}
				return nil
			},
		})
		p, err := pipeline.New(pipeline.Options{
			Source: src, Sink: sink, Log: slog.New(slog.NewTextHandler(&said, nil)),
			Circuit:     pipeline.NewCircuit(pipeline.CircuitRules{Failures: 1, Open: 10 * time.Minute}),
			DeadLetters: &pipeline.DeadLetters{Store: &letterBox{letters: map[string]parking.Letter{}}, Rules: parking.Rules{Attempts: 1000}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		<-time.After(time.Second)
		history(src, 1)
		<-time.After(time.Minute)
		if st := p.Status(); !strings.Contains(st.Error, "next: SELECT 1") {
			t.Errorf("the status has no advice: %s", st.Error)
		}
		refuses = false
		src.Disconnect(entrain.ErrDisconnected)
		<-time.After(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		text := said.String()
		if !strings.Contains(text, "does not fit; no room\"") || strings.Contains(text, "SELECT") || strings.Contains(text, "entrain run") {
			t.Errorf("of a refusal that is tried again the log has:\n%s", text)
		}
		last := text[strings.LastIndex(text, "session ended"):]
		if !strings.Contains(last, "no route") || !strings.Contains(last, " in=10m0s") {
			t.Errorf("of an open circuit the log has: %s", last)
		}
	})
}

// TestLagOfRefusedReplay: a replay that is refused ends the session; nothing of the
// stream waits for that, however long the next session takes to begin.
func TestLagOfRefusedReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opens := 0
		live := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Now: time.Now, BeforeOpen: func(context.Context) error {
			if opens++; opens > 1 {
				<-time.After(22 * time.Second)
			}
			return nil
		}})
		tenUpdates(live)
		f := openOffice(t, live, pipeline.DeadLetters{})
		defer f.end()
		<-time.After(time.Minute)
		again := entraintest.NewMemorySource(entraintest.MemorySourceConfig{Bounded: true})
		tenUpdates(again)
		f.picky.bad["source/memory/9000/1"] = true
		all := func(*entrain.Event) bool { return true }
		if _, err := f.Redeliver(t.Context(), pipeline.Redelivery{Source: again, Wants: all}); err == nil {
			t.Fatal("the replay was not refused")
		}
		<-time.After(20 * time.Second)
		if st := f.Status(); st.Phase != "connecting" || st.LagSeconds != 0 {
			t.Errorf("while the next session begins: %+v", st)
		}
		<-time.After(20 * time.Second)
		if st := f.Status(); st.Phase != "streaming" || st.LagSeconds != 0 {
			t.Errorf("behind that: %+v", st)
		}
	})
}
