package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
	"github.com/entrainsync/entrain/connector/postgres/pgoutput"
)

// reader is one replication session. Lock order: reading, then nothing.
type reader struct {
	log    *slog.Logger
	conn   net.Conn
	ws     *walStream
	net    *coalescer
	asm    *assembler
	fb     *feedback
	watch  *slotWatch
	bound  *lsn // where a bounded source ends; nil: never
	quiet  time.Duration
	ticked time.Time // when the position was last handed out
	urged  bool      // the server asked how far we are since then

	reading sync.Mutex // held by Read
	closing atomic.Bool
	broken  atomic.Pointer[error] // why the session cannot go on, if so
	ended   bool                  // a bounded source has delivered everything
	over    error                 // why the session ended, for every Read from then on

	committed atomic.Int64  // commit time of the last transaction read, Unix µs
	heard     atomic.Int64  // when the server last sent anything, Unix µs
	read      atomic.Uint64 // up to where changes were handed out

	closeOnce sync.Once
	closeErr  error
}

const (
	// walDataHeader is 'w', start, end and send time; keepaliveSize is 'k',
	// WAL end, send time and whether the server wants an answer.
	walDataHeader = 1 + 8 + 8 + 8
	keepaliveSize = 1 + 8 + 8 + 1

	// behindBy is when a session counts as behind: this long between a commit
	// and its sending.
	behindBy = 250 * time.Millisecond

	// An idle position is handed out when it is worth a write: after
	// idleMinBytes and idleMinTime, or after idleMaxTime (algorithms: else a
	// source and a sink in one cluster feed each other for ever).
	idleMinBytes = 1 << 20
	idleMinTime  = 10 * time.Second
	idleMaxTime  = 60 * time.Second
)

// Read implements entrain.Reader.
func (r *reader) Read(ctx context.Context) (*entrain.Batch, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	if err := r.state(ctx); err != nil {
		return nil, err
	}
	if err := r.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, r.failure(ctx, err)
	}
	defer r.interruptedBy(ctx)()
	for {
		if b := r.batch(); b != nil {
			return b, nil
		}
		if r.ended {
			return nil, io.EOF
		}
		if err := r.step(ctx); err != nil {
			return r.last(ctx, err)
		}
	}
}

// last returns the transactions that came whole before err ended the session,
// so that the next one begins behind them, and err at the next Read.
func (r *reader) last(ctx context.Context, err error) (*entrain.Batch, error) {
	err = r.failure(ctx, err)
	if ctx.Err() != nil || r.closing.Load() {
		return nil, err
	}
	r.over = err
	if b := r.asm.ended(); b != nil {
		return r.noted(b), nil
	}
	return nil, err
}

// state returns why Read cannot go on, if so.
func (r *reader) state(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case r.closing.Load():
		return fmt.Errorf("read: %w", net.ErrClosed)
	}
	return r.over
}

// batch returns what is to be delivered now: complete transactions when the
// network has nothing more at once or the batch is full; a part of a larger
// transaction when it is full; an idle position when it is worth it.
func (r *reader) batch() *entrain.Batch {
	full := r.asm.full()
	if !full && r.ws.ready() {
		return r.passing()
	}
	b := r.asm.ended()
	if b == nil && full {
		b = r.asm.fragment()
	}
	if b == nil && r.idleDue() {
		b = r.asm.idle()
	}
	if r.bound != nil && r.asm.handed >= *r.bound {
		r.ended = true
	}
	return r.noted(b)
}

// noted remembers when the position last moved.
func (r *reader) noted(b *entrain.Batch) *entrain.Batch {
	if b != nil {
		r.ticked, r.urged = time.Now(), false
		r.heard.Store(r.ticked.UnixMicro())
	}
	if b != nil && len(b.Events) > 0 {
		read := uint64(r.asm.handed)
		if b.Through.IsZero() {
			read++ // a part: behind all that can be confirmed
		}
		r.read.Store(read)
	}
	return b
}

// passing returns an idle position while the network has more at once, but
// nothing of it was ours for long: a backlog of excluded changes must not hold
// the slot back until its end.
func (r *reader) passing() *entrain.Batch {
	if r.asm.complete > 0 || r.asm.end-r.asm.handed < idleMinBytes || !r.idleDue() {
		return nil
	}
	return r.noted(r.asm.idle())
}

// idleDue reports whether a position without events is worth handing out. A
// server that asks, because it shuts down or its time-out is near, and one whose
// commits wait for us are answered at once (P7); a heartbeat is there to move it.
func (r *reader) idleDue() bool {
	moved := r.asm.end - r.asm.handed
	switch {
	case moved == 0 || r.asm.end < r.asm.handed:
		return false
	case r.urged, r.asm.beat > r.asm.handed, r.fb.eager, r.bound != nil && r.asm.end >= *r.bound:
		return true
	}
	since := time.Since(r.ticked)
	return since >= idleMaxTime || since >= idleMinTime && moved >= idleMinBytes
}

// step takes one message from the network. Before it blocks it bounds how long
// the server may be silent; the feedback's questions make it speak.
func (r *reader) step(ctx context.Context) error {
	if !r.ws.ready() {
		if err := r.conn.SetReadDeadline(time.Now().Add(r.quiet)); err != nil {
			return err
		}
		if ctx.Err() != nil || r.closing.Load() || r.broken.Load() != nil {
			r.interrupt() // it may have come before the deadline was set
		}
	}
	data, err := r.ws.next()
	if err != nil {
		return err
	}
	switch {
	case len(data) >= walDataHeader && data[0] == 'w':
		return r.walData(data)
	case len(data) >= keepaliveSize && data[0] == 'k':
		r.keepalive(data)
		return nil
	}
	return fmt.Errorf("after %s: unexpected replication message of %d bytes", r.asm.end, len(data))
}

func (r *reader) walData(data []byte) error {
	if err := r.asm.add(data[walDataHeader:]); err != nil {
		return err
	}
	if r.asm.tx == nil {
		return nil
	}
	sent := pgoutput.Time(int64(binary.BigEndian.Uint64(data[17:])))
	r.committed.Store(r.asm.tx.CommitTime.UnixMicro())
	r.setPace(r.asm.behind(sent))
	return nil
}

func (r *reader) keepalive(data []byte) {
	r.asm.keepalive(lsn(binary.BigEndian.Uint64(data[1:])))
	if r.asm.empty() && uint64(r.asm.handed) <= r.fb.confirmed.Load() {
		r.fb.settle(r.asm.end)
	}
	r.heard.Store(time.Now().UnixMicro())
	r.setPace(0)
	if data[keepaliveSize-1] == 1 {
		r.urged = true
		r.fb.poke()
	}
}

// setPace lets the network wait for larger pieces while the session is late by
// more than moments, unless the server's commits wait for us.
func (r *reader) setPace(late time.Duration) {
	behind := late > behindBy && !r.fb.eager
	if r.net.behind.Load() != behind {
		r.net.behind.Store(behind)
	}
}

// interruptedBy makes the end of ctx interrupt reads until the function that it
// returns was called. That waits for an interrupt that is under way, which
// would else hit the next Read.
func (r *reader) interruptedBy(ctx context.Context) func() {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		r.interrupt()
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

// abandon ends the session because of err, whose first one stays.
func (r *reader) abandon(err error) {
	r.broken.CompareAndSwap(nil, &err)
	r.interrupt()
}

// interrupt makes a blocked read return.
func (r *reader) interrupt() { r.conn.SetReadDeadline(time.Unix(1, 0)) }

// failure says why the session ended.
func (r *reader) failure(ctx context.Context, err error) error {
	switch {
	case r.closing.Load():
		return fmt.Errorf("read: %w", net.ErrClosed)
	case ctx.Err() != nil:
		return ctx.Err()
	case r.broken.Load() != nil:
		return fmt.Errorf("%w: %w", entrain.ErrDisconnected, *r.broken.Load())
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: the source has been silent for %s", entrain.ErrDisconnected, r.quiet)
	case errors.Is(err, errEndOfStream):
		return fmt.Errorf("%w: %w", entrain.ErrDisconnected, err)
	}
	return streamError(err, r.watch.cfg)
}

// Ack implements entrain.Reader.
func (r *reader) Ack(ctx context.Context, through entrain.Position) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := parsePlace(through.Offset)
	if err != nil || through.Incarnation != r.asm.stream.Incarnation {
		return fmt.Errorf("acknowledge %s: not a position of this session", through)
	}
	r.fb.confirm(p.at)
	return nil
}

// Lag implements entrain.Lagger.
func (r *reader) Lag() entrain.Lag {
	lag := entrain.Lag{Bytes: -1, Heard: time.UnixMicro(r.heard.Load())}
	if us := r.committed.Load(); us != 0 {
		lag.Committed = time.UnixMicro(us)
	}
	if end := lsn(r.watch.end.Load()); end > 0 {
		lag.Bytes = max(0, int64(end)-int64(r.fb.confirmed.Load()))
	}
	return lag
}

// Counts implements entrain.Counter. The names tell these numbers, which are of
// the log as it comes, from those of the pipeline.
func (r *reader) Counts() map[string]int64 {
	c := &r.asm.counts
	return map[string]int64{
		"source_captured": c.captured.Load(), "source_filtered": c.filtered.Load(),
		"source_skipped": c.skipped.Load(), "source_transactions": c.transactions.Load(),
	}
}

// Close implements entrain.Reader.
func (r *reader) Close() error {
	r.closeOnce.Do(func() {
		r.closing.Store(true)
		r.interrupt()
		r.reading.Lock()
		defer r.reading.Unlock()
		r.fb.end()
		r.net.behind.Store(false)
		r.conn.SetReadDeadline(time.Now().Add(dial.CloseTimeout))
		if r.fb.send(0) == nil {
			// A server busy with a large transaction does not answer in time:
			// it notices when the connection is gone.
			_ = r.ws.finish()
		}
		r.closeErr = r.conn.Close()
		r.watch.close()
	})
	return r.closeErr
}

// noticed handles a notice of the server. From version 18 on a publication
// that is missing at a point of the log is only a warning there while changes
// pass by: here it is a named stop (P1).
func (r *reader) noticed(n *pgconn.PgError) error {
	if isMissingPublication(n) {
		return n
	}
	r.log.Warn("notice from the source", "severity", n.Severity, "message", n.Message)
	return nil
}

// Stream implements entrain.Streamer.
func (r *reader) Stream() *entrain.Stream { return r.asm.stream }
