package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/packed"
)

func TestMain(m *testing.M) {
	if killed() {
		return
	}
	goleak.VerifyTestMain(m)
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

// place is what the suite's logs share: a folder with its server, or a server.
type place interface {
	backend(c Config) *backend
}

// TestEmbedded: the embedded stream keeps the contracts (P1 to P6).
func TestEmbedded(t *testing.T) {
	entraintest.TestStream(t, harness(func(t testing.TB) place { return newFolder(t) }))
}

// TestServer: the same on a server that is elsewhere.
func TestServer(t *testing.T) {
	entraintest.TestStream(t, harness(func(t testing.TB) place { return newElsewhere(t) }))
}

// TestOneByOne: the same without atomic batches, which older servers lack.
func TestOneByOne(t *testing.T) {
	entraintest.TestStream(t, harness(func(t testing.TB) place { return &older{newElsewhere(t)} }))
}

func harness(fresh func(t testing.TB) place) entraintest.StreamHarness {
	var at place
	var lose atomic.Bool
	return entraintest.StreamHarness{
		New: func(t testing.TB) { at = fresh(t) },
		Log: func(t testing.TB, c entraintest.StreamConfig) stream.Log {
			cfg := Config{Producer: c.Producer, MaxBytes: c.MaxBytes, MessageBytes: 64 << 10, Every: 50 * time.Millisecond}
			l, err := cfg.log(losing{at.backend(cfg), &lose})
			if err != nil {
				t.Fatal(err)
			}
			if c.Cursors != nil {
				l.Cursors(c.Cursors)
			}
			return l
		},
		Parts:      true,
		Remake:     func(t testing.TB) { removeStreams(t, at.backend(Config{})) },
		LoseAnswer: func(testing.TB) { lose.Store(true) },
		Quota:      4 << 20,
		Rows:       3000,
	}
}

// folder is an embedded server that several logs of a test share, as those of
// several pipelines in one process could not: a lock stands against it.
type folder struct{ e *embedded }

func newFolder(t testing.TB) *folder {
	f := &folder{newEmbedded(EmbeddedConfig{Dir: t.TempDir(), Config: Config{Log: loudly(t)}})}
	t.Cleanup(func() { f.e.close() })
	return f
}

func (f *folder) backend(c Config) *backend { return f.e.backend(c) }

// elsewhere is a server that listens.
type elsewhere struct {
	url string
	end func() // nil: it is another one's
}

func newElsewhere(t testing.TB) *elsewhere {
	t.Helper()
	return startServer(t, server.Options{})
}

func startServer(t testing.TB, o server.Options, more ...func(*server.Options)) *elsewhere {
	t.Helper()
	port := freePort(t)
	o.Host, o.Port, o.JetStream, o.StoreDir, o.NoSigs, o.NoLog = "127.0.0.1", port, true, t.TempDir(), true, true
	for _, set := range more {
		set(&o)
	}
	s, err := server.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	end := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	t.Cleanup(end)
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return &elsewhere{fmt.Sprintf("nats://127.0.0.1:%d", port), end}
}

func freePort(t testing.TB) int {
	for range 100 {
		port := 20000 + rand.IntN(10000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

func (e *elsewhere) backend(c Config) *backend {
	b, err := ServerConfig{Config: c, URL: e.url}.backend()
	if err != nil {
		panic(err) // of a file that cannot be read, and there is none
	}
	return b
}

// older makes all streams in the way of a server that has no batches.
type older struct{ *elsewhere }

func (o *older) backend(c Config) *backend {
	b := o.elsewhere.backend(c)
	b.withoutBatches = true
	return b
}

func removeStreams(t testing.TB, b *backend) {
	t.Helper()
	nc, js, err := b.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	list := js.StreamNames(t.Context())
	for name := range list.Name() {
		if err := js.DeleteStream(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		t.Fatal(err)
	}
}

// TestTokens: names survive being parts of subjects.
func TestTokens(t *testing.T) {
	for _, name := range []string{"shop", "a.b-c_d", "*>", "=2E", "ü x", "=", "a=zz"} {
		if got := untoken(token(name)); got != name {
			t.Errorf("%q becomes %q", name, got)
		}
	}
}

// TestOneProcess: a folder is one process's.
func TestOneProcess(t *testing.T) {
	cfg := EmbeddedConfig{Dir: t.TempDir(), Config: Config{Producer: "shop"}}
	first, err := NewEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := NewEmbedded(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := first.Partitions(t.Context()); err != nil {
		t.Fatal(err)
	}
	var stop *entrain.Stop
	if _, err := second.Open(t.Context()); !errors.As(err, &stop) || stop.Code != "stream_in_use" || !strings.Contains(stop.What, fmt.Sprintf("process %d ", os.Getpid())) {
		t.Errorf("the folder is opened twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := second.Open(t.Context())
	if err != nil {
		t.Fatalf("after the other one was closed: %v", err)
	}
	w.Close()
}

// TestUnreachable: a server that is not there is tried again, one that refuses the
// password is not, and the password is in no text.
func TestUnreachable(t *testing.T) {
	at := startServer(t, server.Options{Username: "shop", Password: "right"})
	host := strings.TrimPrefix(at.url, "nats://")
	for _, c := range []struct {
		url, why string
		retry    bool
		works    bool
	}{
		{url: "nats://shop:right@" + host, works: true},
		{url: "nats://shop:wr0ng@" + host, why: "refuses"},
		{url: fmt.Sprintf("nats://shop:wr0ng@127.0.0.1:%d", freePort(t)), why: "not running", retry: true},
	} {
		l, err := NewLog(ServerConfig{URL: c.url, Config: Config{Producer: "shop"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Partitions(t.Context())
		if c.works {
			if err != nil {
				t.Errorf("%s: %v", c.url, err)
			}
			continue
		}
		var u *entrain.Unreachable
		if !errors.As(err, &u) || !strings.Contains(u.Why, c.why) || entrain.IsRetryable(err) != c.retry {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		if text := err.Error() + u.Why + u.Next; strings.Contains(text, "wr0ng") {
			t.Errorf("the password is in %q", text)
		}
	}
}

// TestConfig: what cannot work is said before anything is dialled.
func TestConfig(t *testing.T) {
	producer := Config{Producer: "shop"}
	for name, bad := range map[string]ServerConfig{
		"no URL":           {Config: producer},
		"no producer":      {URL: "nats://h"},
		"a stream's name":  {Config: producer, URL: "nats://h", Stream: "a.b"},
		"a key only":       {Config: producer, URL: "nats://h", Key: "k.pem"},
		"a missing file":   {Config: producer, URL: "nats://h", CA: filepath.Join(t.TempDir(), "ca.pem")},
		"a negative limit": {Config: Config{Producer: "shop", MaxBytes: -1}, URL: "nats://h"},
	} {
		if _, err := NewLog(bad); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := NewEmbedded(EmbeddedConfig{Config: producer}); err == nil {
		t.Error("an embedded stream without a folder is accepted")
	}
}

// TestWarningsAfterAKill: what the server says while it looks through its folder is
// for debugging; later warnings are warnings.
func TestWarningsAfterAKill(t *testing.T) {
	var text strings.Builder
	says := &quiet{log: slog.New(slog.NewTextHandler(&text, nil))}
	says.starting.Store(true)
	says.Warnf("bad %s", "index")
	if text.Len() > 0 || says.warnings.Load() != 1 {
		t.Errorf("%d warnings, and the log has %s", says.warnings.Load(), text.String())
	}
	says.starting.Store(false)
	says.Warnf("no room")
	if !strings.Contains(text.String(), "level=WARN") {
		t.Errorf("the log has %s", text.String())
	}
}
