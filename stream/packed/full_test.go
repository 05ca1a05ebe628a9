package packed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/pipeline"
	"github.com/entrainsync/entrain/stream/packed"
)

// fullDisk is a backend whose disk has no room until a time.
type fullDisk struct {
	packed.Backend
	until time.Time
}

func (f fullDisk) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	seq, err := f.Backend.Open(ctx, producer)
	if err == nil {
		seq.Tail = fullTail{seq.Tail, f.until}
	}
	return seq, err
}

type fullTail struct {
	packed.Tail
	until time.Time
}

func (f fullTail) Append(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	if time.Now().Before(f.until) {
		return 0, 0, entrain.Retryable(fmt.Errorf("%w: the disk of /somewhere has 1 MB left", packed.ErrDiskFull))
	}
	return f.Tail.Append(ctx, after, messages)
}

// TestRoomForShortSessions: a log gets room although each session that writes to it is
// given up before the retention would look by itself (P9).
func TestRoomForShortSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := packed.New(packed.Config{Backend: &packed.Memory{}, Producer: "shop", MaxBytes: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		l.Cursors([]string{"sink"})
		src := entraintest.NewMemorySource(entraintest.MemorySourceConfig{})
		sink := entraintest.NewMemorySink(entraintest.MemorySinkConfig{Keeps: entraintest.KeepsPosition})
		const rows = 2000
		for n := range rows {
			id := entraintest.Text(fmt.Sprint(n))
			src.Commit(entraintest.Insert(entraintest.StandardTable(), id, id, id, entraintest.Null))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, o := range []pipeline.Options{
			{Source: src, Sink: l, Retry: pipeline.Retry{Attempt: time.Second}, BatchBytes: 1},
			{Source: l.Read("sink", "shop"), Sink: sink},
		} {
			p, err := pipeline.New(o)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := p.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		<-time.After(10 * time.Minute)
		cancel()
		wg.Wait()
		if got := len(sink.IDs()); got != rows {
			t.Errorf("the sink has %d of %d rows: the log has no room, and gets none", got, rows)
		}
	})
}

// TestDiskIsNamed: where it is the disk that has no room, the advice is about the disk,
// and not about the stream's bound; capture goes on by itself.
func TestDiskIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		s := open(t, packed.Config{Backend: fullDisk{&packed.Memory{}, time.Now().Add(time.Minute)}, Log: slog.New(slog.NewTextHandler(&text, nil))})
		s.write(1)
		if got := text.String(); !strings.Contains(got, "the disk of /somewhere has 1 MB left") || !strings.Contains(got, "make room on that disk") ||
			strings.Contains(got, "raise stream.max_bytes") {
			t.Errorf("the log says %s", got)
		}
		s.w.Close()
	})
}
