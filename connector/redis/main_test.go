package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/stream/packed"
)

func TestMain(m *testing.M) {
	if killed() {
		return
	}
	goredis.SetLogger(&logging.VoidLogger{})
	pgtest.Main(m, redistest.Remove)
}

var names atomic.Int64

// unique returns a prefix that no other test has.
func unique() string { return fmt.Sprintf("t%d-%d", os.Getpid(), names.Add(1)) }

// at is a place of its own on the server that tests share.
func at(t testing.TB) Server {
	t.Helper()
	return Server{URL: "redis://" + redistest.Start(t).Addr(), Prefix: unique()}
}

// admin is a client of the test's own.
func admin(t testing.TB, s Server) *goredis.Client {
	t.Helper()
	o, err := goredis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := goredis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// loudly is a logger into the test's own log.
func loudly(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// losing passes appends on whose answer is lost, when it is told to.
type losing struct {
	packed.Backend
	next *atomic.Bool
}

func (l losing) Open(ctx context.Context, producer string) (*packed.Sequence, error) {
	s, err := l.Backend.Open(ctx, producer)
	if err == nil {
		s.Tail = losingTail{s.Tail, l.next}
	}
	return s, err
}

type losingTail struct {
	packed.Tail
	next *atomic.Bool
}

func (l losingTail) Append(ctx context.Context, after uint64, messages [][]byte) (int, uint64, error) {
	n, last, err := l.Tail.Append(ctx, after, messages)
	if err == nil && l.next.CompareAndSwap(true, false) {
		return 0, 0, entrain.Retryable(errors.New("the answer was lost"))
	}
	return n, last, err
}

// wantStop fails unless err is a stop with the code, and returns it.
func wantStop(t testing.TB, err error, code string) *entrain.Stop {
	t.Helper()
	var stop *entrain.Stop
	if !errors.As(err, &stop) || stop.Code != code {
		t.Fatalf("got %v, want the stop %s", err, code)
	}
	for name, text := range map[string]string{"What": stop.What, "Why": stop.Why, "Next": stop.Next} {
		if strings.TrimSpace(text) == "" {
			t.Errorf("the stop %s has no %s", code, name)
		}
	}
	return stop
}

// opened opens a writer and takes the log over.
func opened(t testing.TB, l *Log) (entrain.Writer, entrain.Position) {
	t.Helper()
	w, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	at, err := w.(entrain.Positioner).Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return w, at
}

func newLog(t testing.TB, s Server) *Log {
	t.Helper()
	l, err := NewLog(Config{Server: s, Producer: "shop", Log: loudly(t), Every: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// runAdvice does what a stop says to type, as far as it is for redis-cli.
func runAdvice(t testing.TB, s Server, text string) {
	t.Helper()
	c, n := admin(t, s), 0
	for part := range strings.SplitSeq(text, "; ") {
		if !strings.HasPrefix(part, "redis-cli ") {
			continue
		}
		script := `words() { shift 2; printf '%s\n' "$@"; }; words ` + strings.TrimPrefix(part, "redis-cli ")
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).Output()
		if err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		var words []any
		for word := range strings.Lines(string(out)) {
			words = append(words, strings.TrimSuffix(word, "\n"))
		}
		if err := c.Do(t.Context(), words...).Err(); err != nil {
			t.Fatalf("%s: %v", part, err)
		}
		n++
	}
	if n == 0 {
		t.Fatalf("%q has nothing to type", text)
	}
}
