package nats

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
	"github.com/entrainsync/entrain/stream/packed"
)

// EmbeddedConfig is a log in a server inside this process. Dir is required.
type EmbeddedConfig struct {
	Config
	// Dir is the folder that the stream is kept in; it is made if it is missing. One
	// process at a time can use it.
	Dir string
}

const (
	// startTimeout is how long the server may take to look through its folder.
	startTimeout = 5 * time.Minute
	// leastSpace has to stay free on the disk, so that there is room for what is stored
	// beside the messages, and for their removal, which writes first.
	leastSpace = 64 << 20
	// leastBeside has to be free for that.
	leastBeside = 16 << 20
	// lockName is the file in the folder that one process at a time has locked.
	lockName = "entrain.lock"
)

// NewEmbedded returns a log in a server of its own, which starts when it is needed
// first and ends with [Log.Close]. Every message is synced to the disk before it
// counts.
func NewEmbedded(cfg EmbeddedConfig) (*Log, error) {
	if cfg.Dir == "" {
		return nil, errors.New("nats: the folder of the stream is missing")
	}
	e := newEmbedded(cfg)
	b := e.backend(cfg.Config)
	l, err := cfg.log(b)
	if err != nil {
		return nil, err
	}
	return &Log{Log: l, server: e, backend: b, producer: cfg.Producer}, nil
}

func newEmbedded(cfg EmbeddedConfig) *embedded {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &embedded{dir: cfg.Dir, log: cfg.Log}
}

// backend has the streams of the server.
func (e *embedded) backend(cfg Config) *backend {
	return &backend{
		name: "entrain", replicas: 1, maxBytes: cfg.MaxBytes, url: "(embedded in " + e.dir + ")", dial: e.dial, room: e.room,
		nothing: e.nothing, embedded: true,
	}
}

// nothing reports that the folder is not there.
func (e *embedded) nothing() bool {
	_, err := os.Stat(e.dir)
	return errors.Is(err, os.ErrNotExist)
}

// embedded is the server inside the process.
type embedded struct {
	dir string
	log *slog.Logger

	mu     sync.Mutex
	server *server.Server // nil: not running
	lock   *os.File       // held while it runs
	watch  *watch         // while it runs
	begun  *beginning     // nil: it does not start at the moment
	closed bool

	looked time.Time // when the disk's room was looked at
	free   int64     // what it was
}

// started is a server that has just been started, and what belongs to it.
type started struct {
	server *server.Server
	lock   *os.File
	watch  *watch
}

// beginning is a start of the server, which goes on whoever waits for it.
type beginning struct {
	done chan struct{} // closed when it is over
	err  error         // why it failed
}

// dial connects to the server, which is started if it does not run.
func (e *embedded) dial(ctx context.Context, more ...natsgo.Option) (*natsgo.Conn, error) {
	s, err := e.running(ctx)
	if err != nil {
		return nil, err
	}
	return natsgo.Connect("", append(more, natsgo.InProcessServer(s))...)
}

// running returns the server when it runs. To look through a large folder takes it
// minutes, which whoever has been told to stop does not wait for.
func (e *embedded) running(ctx context.Context) (*server.Server, error) {
	for {
		e.mu.Lock()
		if e.closed {
			e.mu.Unlock()
			return nil, errors.New("the embedded stream was closed")
		}
		if s := e.server; s != nil && s.Running() && s.JetStreamEnabled() {
			e.mu.Unlock()
			return s, nil
		}
		if e.begun == nil {
			e.stop() // it gives up by itself when the disk fails
			e.begun = &beginning{done: make(chan struct{})}
			go e.begin(e.begun)
		}
		b := e.begun
		e.mu.Unlock()
		select {
		case <-b.done:
			if b.err != nil {
				return nil, b.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin starts the server.
func (e *embedded) begin(b *beginning) {
	s, err := e.start()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.lock, e.watch = s.server, s.lock, s.watch
	if err != nil || e.closed {
		e.stop()
	}
	e.begun, b.err = nil, err
	close(b.done)
}

// start returns what stop ends, also with an error.
func (e *embedded) start() (at started, err error) {
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return at, fmt.Errorf("make the folder of the stream: %w", err)
	}
	if at.lock, err = e.take(); err != nil {
		return at, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "entrain", DontListen: true, JetStream: true, StoreDir: e.dir, SyncAlways: true, NoSigs: true,
		MaxPayload: messageBytes + 2*headerBytes, JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: 1 << 50,
	})
	if err != nil {
		return at, fmt.Errorf("set the embedded stream up: %w", err)
	}
	at.server = s
	says := &quiet{log: e.log, trouble: make(chan struct{}, 1)}
	says.starting.Store(true)
	s.SetLoggerV2(says, false, false, false)
	s.Start()
	if !s.ReadyForConnections(startTimeout) || !s.JetStreamEnabled() {
		return at, entrain.Retryable(fmt.Errorf("the embedded stream in %s does not start; the log says why", e.dir))
	}
	says.starting.Store(false)
	if n := says.warnings.Load(); n > 0 {
		e.log.Info("the embedded stream was not closed before; it has been looked through", "folder", e.dir, "findings", n)
	}
	at.watch = e.watchOver(s, says.trouble)
	return at, nil
}

// watch ends a server that cannot write any more: a disk that failed once, since it
// was full, say, is never written to again by the same server, which does not answer
// either. Sessions end with it, and the next one starts a new one.
type watch struct{ quit, done chan struct{} }

func (e *embedded) watchOver(s *server.Server, trouble <-chan struct{}) *watch {
	w := &watch{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for {
			select {
			case <-trouble:
			case <-w.quit:
				return
			}
			if health := s.Healthz(nil); health.Error != "" && s.Running() {
				e.log.Error("the embedded stream cannot write and is started again", "folder", e.dir, "error", health.Error)
				s.Shutdown()
				return
			}
		}
	}()
	return w
}

func (w *watch) end() {
	close(w.quit)
	<-w.done
}

// take makes sure that no other process has the folder.
func (e *embedded) take() (*os.File, error) {
	path := filepath.Join(e.dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the folder of the stream: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		who := holder(f)
		f.Close()
		return nil, &entrain.Stop{
			Code: "stream_in_use",
			What: fmt.Sprintf("%s has the stream in %s open", who, e.dir),
			Why:  "two processes in one folder would damage it; a process that was just ended may take a moment",
			Next: "entrain status FILE; end that process; entrain run FILE",
			Err:  err,
		}
	}
	// For people only: a full disk must not be in the way.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return f, nil
}

// holder names the process that has locked the file.
func holder(f *os.File) string {
	const most = 20
	text, err := io.ReadAll(io.LimitReader(f, most))
	if pid, bad := strconv.Atoi(string(text)); err == nil && bad == nil {
		return fmt.Sprintf("process %d", pid)
	}
	return "another process"
}

// stop ends the server and lets go of the folder. mu is held.
func (e *embedded) stop() {
	if e.server != nil {
		e.server.Shutdown()
		e.server.WaitForShutdown()
		e.server = nil
	}
	if e.watch != nil {
		e.watch.end()
		e.watch = nil
	}
	if e.lock != nil {
		e.lock.Close()
		e.lock = nil
	}
}

func (e *embedded) close() error {
	e.mu.Lock()
	e.closed = true
	b := e.begun
	e.stop()
	e.mu.Unlock()
	if b != nil {
		<-b.done
	}
	return nil
}

// room says whether the disk has so many bytes left; it looks once a second.
func (e *embedded) room(least int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.looked) >= time.Second {
		e.looked, e.free = now, math.MaxInt64
		if free, err := connector.FreeSpace(e.dir); err == nil {
			e.free = int64(free)
		}
	}
	if e.free < least {
		return entrain.Retryable(fmt.Errorf("%w: the disk of %s has %d MB left, of which %d MB are to stay free",
			packed.ErrDiskFull, e.dir, e.free>>20, least>>20))
	}
	return nil
}

// quiet passes on what the server says if it is about trouble.
type quiet struct {
	log      *slog.Logger
	starting atomic.Bool  // it looks through its folder, where warnings are usual after a kill
	warnings atomic.Int64 // while it did

	trouble chan struct{} // has one element when something went wrong
}

func (q *quiet) Noticef(string, ...any) {}
func (q *quiet) Debugf(string, ...any)  {}
func (q *quiet) Tracef(string, ...any)  {}

func (q *quiet) Warnf(format string, v ...any) {
	if q.starting.Load() {
		q.warnings.Add(1)
		q.log.Debug("embedded stream", "message", fmt.Sprintf(format, v...))
		return
	}
	q.log.Warn("embedded stream", "message", fmt.Sprintf(format, v...))
}

func (q *quiet) Errorf(format string, v ...any) {
	q.log.Error("embedded stream", "message", fmt.Sprintf(format, v...))
	select {
	case q.trouble <- struct{}{}:
	default:
	}
}

func (q *quiet) Fatalf(format string, v ...any) { q.Errorf(format, v...) }
