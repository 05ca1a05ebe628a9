package nats

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/entraintest"
	"github.com/entrainsync/entrain/stream"
)

func TestMain(m *testing.M) {
	if killed() {
		return
	}
	goleak.VerifyTestMain(m)
}

// place is what the suite's logs share: a folder with its server, or a server.
type place interface {
	log(t testing.TB, c Config) *Log
	// remove deletes all streams.
	remove(t testing.TB)
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
	return entraintest.StreamHarness{
		New: func(t testing.TB) { at = fresh(t) },
		Log: func(t testing.TB, c entraintest.StreamConfig) stream.Log {
			l := at.log(t, Config{Producer: c.Producer, MaxBytes: c.MaxBytes, MessageBytes: 64 << 10, Every: 50 * time.Millisecond})
			if c.Cursors != nil {
				l.Cursors(c.Cursors)
			}
			return l
		},
		Parts:  true,
		Remake: func(t testing.TB) { at.remove(t) },
		Quota:  4 << 20,
		Rows:   3000,
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

func (f *folder) log(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := c.log(f.e.backend(c))
	if err != nil {
		t.Fatal(err)
	}
	return &Log{Log: l}
}

func (f *folder) remove(t testing.TB) { removeStreams(t, f.e.backend(Config{})) }

// elsewhere is a server that listens.
type elsewhere struct{ url string }

func newElsewhere(t testing.TB) *elsewhere {
	t.Helper()
	port := freePort(t)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return &elsewhere{fmt.Sprintf("nats://127.0.0.1:%d", port)}
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

func (e *elsewhere) log(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := NewLog(ServerConfig{Config: c, URL: e.url})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (e *elsewhere) remove(t testing.TB) {
	removeStreams(t, &backend{dial: func(o ...natsgo.Option) (*natsgo.Conn, error) { return natsgo.Connect(e.url, o...) }})
}

// older makes all streams in the way of a server that has no batches.
type older struct{ *elsewhere }

func (o *older) log(t testing.TB, c Config) *Log {
	t.Helper()
	b := &backend{name: "entrain", replicas: 1, maxBytes: c.MaxBytes, withoutBatches: true,
		dial: func(more ...natsgo.Option) (*natsgo.Conn, error) { return natsgo.Connect(o.url, more...) }}
	l, err := c.log(b)
	if err != nil {
		t.Fatal(err)
	}
	return &Log{Log: l}
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
	if _, err := second.Open(t.Context()); !errors.As(err, &stop) || stop.Code != "stream_in_use" {
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
