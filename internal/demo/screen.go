package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres"
	"github.com/entrainsync/entrain/pipeline"
)

// screen writes what a person sees. The pipeline's goroutine shows changes,
// the demo's says the rest.
type screen struct {
	out, talk io.Writer
	paint     map[entrain.Op]string
	began     time.Time
	showing   atomic.Bool // changes are shown
	last      time.Time   // when a transaction was shown
	first     bool        // one was
}

// showEvery leaves time to read: a transaction that comes sooner is not shown.
const showEvery = 250 * time.Millisecond

const plain = "\x1b[0m"

func newScreen(o Options) *screen {
	s := &screen{out: o.Stdout, talk: o.Stderr, began: time.Now()}
	if o.Color {
		s.paint = map[entrain.Op]string{
			entrain.OpInsert: "\x1b[32m", entrain.OpUpdate: "\x1b[33m", entrain.OpDelete: "\x1b[31m",
		}
	}
	return s
}

// say tells what goes on.
func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.talk, "demo: "+format+"\n", args...)
}

// status writes the line of a second, in which so many changes were applied.
func (s *screen) status(since time.Duration, st pipeline.Status, applied int64) {
	s.say("%3.0f s  %8d changes  %6d/s  lag %.2f s, %d kB", since.Seconds(), st.Applied, applied, st.LagSeconds, max(0, st.LagBytes)/1000)
}

// changes shows the transactions of a batch that is durable at the target,
// unless others were shown just now.
func (s *screen) changes(b *entrain.Batch) {
	if !s.showing.Load() || time.Since(s.last) < showEvery || len(b.Events) == 0 {
		return
	}
	s.last = time.Now()
	tx := b.Events[0].Tx
	var text bytes.Buffer
	fmt.Fprintf(&text, "transaction %d, committed %s\n", tx.ID, tx.CommitTime.Local().Format("15:04:05.000"))
	for i := range b.Events {
		if e := &b.Events[i]; e.Tx == tx && e.Table != nil {
			s.change(&text, e)
		}
	}
	s.out.Write(text.Bytes())
	if !s.first {
		s.first = true
		s.say("the first change was there %.1f s after the start", time.Since(s.began).Seconds())
	}
}

func (s *screen) change(to *bytes.Buffer, e *entrain.Event) {
	op := fmt.Sprintf("%-6s", e.Op)
	if paint, ok := s.paint[e.Op]; ok {
		op = paint + op + plain
	}
	row := e.After
	if e.Op == entrain.OpDelete {
		row = e.Before
	}
	var values []string
	for i, c := range e.Table.Columns {
		switch v, state := row.Column(i, len(e.Table.Columns)); state {
		case entrain.Present:
			values = append(values, c.Name+"="+string(v))
		case entrain.Null:
			values = append(values, c.Name+"=NULL")
		}
	}
	fmt.Fprintf(to, "  %s %-11s  %s\n", op, e.Table.Name, strings.Join(values, " "))
}

// tap is a sink that shows what it has made durable.
type tap struct {
	*postgres.Sink
	screen *screen
}

// Open implements entrain.Sink.
func (t tap) Open(ctx context.Context) (entrain.Writer, error) {
	w, err := t.Sink.Open(ctx)
	if err != nil {
		return nil, err
	}
	p, ok := w.(entrain.Positioner)
	if !ok {
		w.Close()
		return nil, fmt.Errorf("the target's writer %T keeps no position", w)
	}
	return &tapWriter{Writer: w, Positioner: p, screen: t.screen}, nil
}

type tapWriter struct {
	entrain.Writer
	entrain.Positioner
	screen *screen
}

// Write implements entrain.Writer.
func (w *tapWriter) Write(ctx context.Context, b *entrain.Batch) error {
	if err := w.Writer.Write(ctx, b); err != nil {
		return err
	}
	if !b.Through.IsZero() {
		w.screen.changes(b)
	}
	return nil
}
