package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
)

// writer is one session of a sink.
type writer struct {
	sink  *Sink
	conn  *conn
	enc   encoding.Encoder
	owner string
	ctx   context.Context // never ends; for closing
	over  error           // why the session takes no more

	taken  bool // Position was called
	at     entrain.Position
	staged bool // a part of the transaction is at the server

	// What was not sent yet: fields of entries, one after the other, and their bytes;
	// the streams that the transaction has entries for, numbered from 1.
	fields  []any
	bytes   int
	streams map[string]int
	targets map[*entrain.Table]string
	entries atomic.Int64
}

const (
	// stageBytes and stageFields are how much is collected of a transaction before it
	// is sent.
	stageBytes  = 4 << 20
	stageFields = 60_000
	// valueBytes is the largest value that Redis takes.
	valueBytes = 512<<20 - 1
	// maxTargets bounds the cache of a process that sees shapes come and go.
	maxTargets = 10_000
)

var (
	errClosed   = errors.New("the session with Redis is over")
	errNotTaken = errors.New("redis sink: Position was not called")
)

// Position implements [entrain.Positioner].
func (w *writer) Position(ctx context.Context) (entrain.Position, error) {
	if w.over != nil {
		return entrain.Position{}, w.over
	}
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	answer, err := do(ctx, w.conn, func() ([]string, error) {
		return scriptTake.Run(ctx, w.conn.client, []string{w.sink.position, w.sink.staged},
			w.owner, host, os.Getpid(), time.Now().UTC().Format(time.RFC3339)).StringSlice()
	})
	if err != nil {
		return entrain.Position{}, w.end(fmt.Errorf("take the position %s over: %w", w.sink.position, err))
	}
	w.taken, w.at = true, entrain.Position{Incarnation: answer[0], Offset: answer[1]}
	return w.at, nil
}

// end ends the session: what was not durable has no effect.
func (w *writer) end(err error) error {
	w.over = errClosed
	w.fields, w.targets = nil, nil
	return err
}

// Write implements [entrain.Writer].
func (w *writer) Write(ctx context.Context, b *entrain.Batch) error {
	if w.over != nil {
		return w.over
	}
	if !w.taken {
		return w.end(errNotTaken)
	}
	if err := w.write(ctx, b); err != nil {
		return w.end(err)
	}
	return nil
}

func (w *writer) write(ctx context.Context, b *entrain.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		if err := w.event(e); err != nil {
			failed := entrain.FailedEvent{ID: e.ID(), Table: tableName(e), Op: e.Op, Err: err}
			return &entrain.BatchError{Failed: []entrain.FailedEvent{failed}}
		}
		if w.bytes < stageBytes && len(w.fields) < stageFields {
			continue
		}
		if err := w.send(ctx, entrain.Position{}); err != nil {
			return err
		}
	}
	if b.Through.IsZero() || b.Through == w.at && len(w.fields) == 0 && !w.staged {
		return nil
	}
	return w.send(ctx, b.Through)
}

func tableName(e *entrain.Event) string {
	if e.Table == nil {
		return "no table"
	}
	return e.Table.String()
}

// event makes entries of an event.
func (w *writer) event(e *entrain.Event) error {
	source := e.Tx.Stream.Source
	switch {
	case e.Op == entrain.OpTruncate:
		return w.truncate(e)
	case e.Table == nil:
		return w.entry(e, name(w.sink.messages, source, &entrain.Table{}), keys{})
	}
	k, err := keysOf(e)
	if err != nil {
		return err
	}
	return w.entry(e, w.target(source, e.Table), k)
}

// target is the stream of a table.
func (w *writer) target(source string, t *entrain.Table) string {
	if s := w.targets[t]; s != "" {
		return s
	}
	if len(w.targets) >= maxTargets {
		clear(w.targets)
	}
	s := name(w.sink.stream, source, t)
	w.targets[t] = s
	return s
}

// truncate makes an entry in the stream of each table, of the format flat one a table.
func (w *writer) truncate(e *entrain.Event) error {
	one, told := *e, map[string]bool{}
	for i, t := range e.Truncate.Tables {
		s := w.target(e.Tx.Stream.Source, t)
		if w.sink.format == "flat" {
			only := *e.Truncate
			only.Tables = e.Truncate.Tables[i : i+1]
			one.Truncate = &only
		} else if told[s] {
			continue
		}
		told[s] = true
		if err := w.entry(&one, s, keys{}); err != nil {
			return err
		}
	}
	return nil
}

// keys are those of the row that an event is about; empty if it has none.
type keys struct{ key, old []byte }

func keysOf(e *entrain.Event) (k keys, err error) {
	if !encoding.HasKey(e.Table) {
		return k, nil
	}
	switch e.Op {
	case entrain.OpInsert, entrain.OpRead, entrain.OpUpdate:
		k.key, err = encoding.AppendKey(nil, e.Table, e.After, e.Before)
	case entrain.OpDelete:
		k.key, err = encoding.AppendKey(nil, e.Table, e.Before, nil)
	}
	if err == nil && e.Op == entrain.OpUpdate && e.Before != nil {
		k.old, err = encoding.AppendKey(nil, e.Table, e.Before, e.After)
		if string(k.old) == string(k.key) {
			k.old = nil
		}
	}
	return k, err
}

func (w *writer) entry(e *entrain.Event, stream string, k keys) error {
	value, err := w.enc.Append(nil, e)
	if err != nil {
		return err
	}
	value = value[:max(len(value), 1)-1] // without its newline
	if len(value) > valueBytes {
		return fmt.Errorf("its value has %d bytes, and Redis takes %d", len(value), valueBytes)
	}
	n := w.streams[stream]
	if n == 0 {
		n = len(w.streams) + 1
		w.streams[stream] = n
	}
	id := e.ID()
	w.fields = append(w.fields, n, id, e.Op.String(), k.key, k.old, value)
	w.bytes += len(id) + len(k.key) + len(k.old) + len(value)
	w.entries.Add(1)
	return nil
}

// send brings to the server what was collected: with a position it becomes visible,
// and the position is stored with it, else it is put aside there.
func (w *writer) send(ctx context.Context, through entrain.Position) error {
	keys := make([]string, 2+len(w.streams))
	keys[0], keys[1] = w.sink.position, w.sink.staged
	for s, n := range w.streams {
		keys[1+n] = s
	}
	args := append([]any{w.owner, w.at.Incarnation, w.at.Offset}, w.fields...)
	script := scriptStage
	if !through.IsZero() {
		script = scriptCommit
		args = append([]any{w.owner, w.at.Incarnation, w.at.Offset, through.Incarnation, through.Offset, w.sink.maxLen}, w.fields...)
	}
	answer, err := w.conn.whole(ctx, script, keys, args)
	switch {
	case goredis.IsOOMError(err):
		return entrain.Retryable(fmt.Errorf("the memory of the Redis at %s is full: %w", w.sink.server.url, err))
	case err != nil:
		return fmt.Errorf("write to Redis: %w", err)
	case answer[0] == "type":
		return w.sink.server.stopType(answer[1])
	case answer[0] == "owner":
		return w.sink.stopFenced(answer[1:])
	}
	clear(w.fields)
	w.fields, w.bytes, w.staged = w.fields[:0], 0, through.IsZero()
	if !w.staged {
		w.at = through
		clear(w.streams)
	}
	return nil
}

// stopFenced is for a position that is not as this session left it.
func (s *Sink) stopFenced(by []string) error {
	if len(by) < 4 || by[0] == "" || strings.HasPrefix(by[0], process+".") {
		// It is gone, or a session of this process is our successor.
		return entrain.Retryable(fmt.Errorf("the position %s is not as this session left it", s.position))
	}
	return &entrain.Stop{
		Code: "fenced",
		What: fmt.Sprintf("process %s on %s has taken the position %s over at %s", by[2], by[1], s.position, by[3]),
		Why:  "going on could write changes twice; two processes must not run one pipeline",
		Next: "entrain status FILE; stop one of the two; entrain run FILE",
	}
}

// stopType is for a key of another kind where a stream is to be.
func (s *server) stopType(key string) error {
	return &entrain.Stop{
		Code: "redis_foreign",
		What: fmt.Sprintf("the key %s of the Redis at %s is no stream", key, s.url),
		Why:  "another program uses this name",
		Next: s.cli("RENAME "+quote(key)+" "+quote(key+".old")) + "; or set another stream in FILE; entrain run FILE",
		Data: true,
	}
}

// Close implements [entrain.Writer]. What was put aside at the server and did not
// become visible is removed, if not now, then by the next session.
func (w *writer) Close() error {
	if w.staged && w.over == nil {
		ctx, cancel := context.WithTimeout(w.ctx, closing)
		defer cancel()
		_, _ = do(ctx, w.conn, func() (any, error) {
			return scriptDrop.Run(ctx, w.conn.client, []string{w.sink.position, w.sink.staged}, w.owner).Result()
		})
	}
	_ = w.end(errClosed)
	w.staged = false
	w.conn.close()
	return nil
}

// closing bounds the removal of what was put aside.
const closing = 2 * time.Second

// Counts implements [entrain.Counter]: entries that were made.
func (w *writer) Counts() map[string]int64 { return map[string]int64{"entries": w.entries.Load()} }
