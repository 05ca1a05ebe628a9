package capture

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/dial"
)

// standbySince is the first version that decodes on a standby.
const standbySince = 160000

// oneKindOfServer refuses several hosts without a word on which of them is
// meant: a primary that restarts would make us look at a standby, which has
// another history of slots.
func oneKindOfServer(cfg *pgconn.Config) error {
	if cfg.ValidateConnect != nil {
		return nil
	}
	for _, other := range cfg.Fallbacks {
		if other.Host != cfg.Host || other.Port != cfg.Port {
			return errors.New("several hosts need target_session_attrs=read-write (or primary, standby, read-only)")
		}
	}
	return nil
}

// hosts returns a configuration for each server that cfg names, in their order.
func hosts(cfg *pgconn.Config) []*pgconn.Config {
	first := cfg.Copy()
	first.Fallbacks = nil
	all := []*pgconn.Config{first}
	for _, f := range cfg.Fallbacks {
		other := first.Copy()
		other.Host, other.Port, other.TLSConfig = f.Host, f.Port, f.TLSConfig
		all = append(all, other)
	}
	return all
}

// reach makes sure that the server's history contains the position (P5). A
// standby may have it soon, since after a restart it replays its log again:
// there that is waited for, and what is still missing then may come later.
func (s *session) reach(ctx context.Context, p place) error {
	for deadline := time.Now().Add(s.slotPatience()); ; {
		ahead := p.at > s.end || p.timeline > s.timeline
		switch {
		case !ahead || !s.standby:
			if err := s.checkTimeline(ctx, p); err != nil {
				return err
			}
			if ahead {
				return stopPositionAhead(s.src.cfg, p, s.end)
			}
			return nil
		case time.Now().After(deadline):
			return entrain.Retryable(fmt.Errorf("the standby %s has the log up to %s on timeline %d only, our position is %s on timeline %d",
				dial.ServerName(s.cfg), s.end, s.timeline, p.at, p.timeline))
		}
		select {
		case <-time.After(slotRetry):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.identify(ctx); err != nil {
			return err
		}
	}
}

// standbyReader is a session with a standby. When that is promoted, or its
// primary is replaced, the stream goes on into the new timeline without a word.
// A position on the wrong timeline would later look as if history had been
// forked before it; so none is handed out before the server was asked where it
// stands, after the events before the position had come.
type standbyReader struct {
	*reader
	sess *session // what the stream was

	asking sync.Mutex     // held by Read; before reader.reading
	held   *entrain.Batch // read, not handed out
	answer chan error     // to the question asked since then; nil if there is none
	asker  *pgconn.PgConn // of whoever asks

	closed context.Context // ends with Close
	end    context.CancelFunc
}

// onStandby wraps the reader of a standby's session.
func (s *session) onStandby(ctx context.Context, r *reader) *standbyReader {
	sr := &standbyReader{reader: r, sess: s}
	sr.closed, sr.end = context.WithCancel(context.WithoutCancel(ctx))
	return sr
}

// Read implements entrain.Reader.
func (r *standbyReader) Read(ctx context.Context) (*entrain.Batch, error) {
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.held == nil {
		b, err := r.reader.Read(ctx)
		if err != nil || b.Through.IsZero() {
			return b, err
		}
		r.held = b
	}
	if err := r.sameTimeline(ctx); err != nil {
		return nil, err
	}
	b := r.held
	r.held = nil
	return b, nil
}

// askTimeout bounds the question for the timeline.
const askTimeout = 30 * time.Second

// sameTimeline fails if the server has left the timeline of the session. A
// question that outlasts ctx is answered in a later call.
func (r *standbyReader) sameTimeline(ctx context.Context) error {
	if r.answer == nil {
		answer := make(chan error, 1)
		go func() { answer <- r.compare() }() // Close waits for it
		r.answer = answer
	}
	select {
	case err := <-r.answer:
		r.answer = nil
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *standbyReader) compare() error {
	ctx, cancel := context.WithTimeout(r.closed, askTimeout)
	defer cancel()
	timeline, err := r.ask(ctx)
	if err != nil {
		r.hangUp()
		return fmt.Errorf("%w: ask the standby for its timeline: %w", entrain.ErrDisconnected, err)
	}
	if timeline != r.asm.timeline {
		return fmt.Errorf("%w: the standby went from timeline %d to %d; the session starts anew there",
			entrain.ErrDisconnected, r.asm.timeline, timeline)
	}
	return nil
}

func (r *standbyReader) ask(ctx context.Context) (uint32, error) {
	if r.asker == nil {
		cfg := r.sess.sibling("timeline")
		cfg.RuntimeParams["replication"] = "database"
		var err error
		if r.asker, err = dial.Connect(ctx, cfg); err != nil {
			return 0, err
		}
	}
	results, err := r.asker.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll()
	if err != nil {
		return 0, err
	}
	id, err := parseIdentity(results[0].Rows[0])
	return id.timeline, err
}

func (r *standbyReader) hangUp() {
	if r.asker != nil {
		dial.Close(r.closed, r.asker)
		r.asker = nil
	}
}

// Close implements entrain.Reader.
func (r *standbyReader) Close() error {
	r.end()
	err := r.reader.Close()
	r.asking.Lock()
	defer r.asking.Unlock()
	if r.answer != nil {
		<-r.answer
		r.answer = nil
	}
	r.hangUp()
	return err
}
