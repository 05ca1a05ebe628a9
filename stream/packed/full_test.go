package packed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entrainsync/entrain"
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
