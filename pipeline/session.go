package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/entrainsync/entrain"
)

// session is one reader and one writer at work together. Two goroutines: the
// reading one fills the queue, the caller's empties it; mu of the pipeline
// guards what both and Status share.
type session struct {
	p      *Pipeline
	reader entrain.Reader
	writer entrain.Writer
	queue  *queue
	delays *backoff

	shapes  *shapeWatch // guarded by handing
	handing sync.Mutex  // held while a batch passes from the reader to the queue; before all others

	parts  []*entrain.Batch // of the write at hand
	merged []entrain.Event  // scratch for merging them
	fed    tracker          // guarded by p.mu

	within     bool             // a transaction is written, but for its end
	gathered   gathering        // what the sink makes durable later
	wary       wary             // of events that the sink refuses
	remembered bool             // the store knows that the sink has a position
	owed       entrain.Position // durable, but not yet saved and confirmed; zero if none
	saved      time.Time        // when the position was last saved
	begun      time.Time        // when it was attached; guarded by p.mu
}

// session opens both ends, moves changes until one of them fails, the source
// is done or ctx ends, and closes them. A session that ended as it should
// returns nil.
func (p *Pipeline) session(ctx context.Context, delays *backoff) error {
	defer p.advancing.Wait()
	work, cancel := p.workContext(ctx)
	defer cancel()
	if leaser, ok := p.opt.Source.(entrain.Leaser); ok && p.opt.Standby {
		release, err := leaser.Lease(ctx)
		if err != nil {
			return fmt.Errorf("wait for the source: %w", err)
		}
		defer release()
	}
	writer, err := p.opt.Sink.Open(ctx)
	if err != nil {
		return fromSink(fmt.Errorf("open sink: %w", err))
	}
	defer closeQuietly(p, "sink", writer)
	from, err := p.restore(ctx, writer)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if from, err = p.copyRows(ctx, work, writer, from); err != nil {
		return err
	}
	if err := p.prepareTables(ctx); err != nil {
		return located(err, from)
	}
	p.tables.meet(writer)
	p.dropDoubles(ctx, writer)
	if p.renews {
		from = entrain.Position{}
	}
	reader, err := p.opt.Source.Open(ctx, from)
	if err != nil {
		return fmt.Errorf("open source: %w", err)
	}
	defer closeQuietly(p, "source", reader)
	if p.renews {
		if err := p.renewTables(ctx); err != nil {
			return err
		}
	}
	if streamer, ok := reader.(entrain.Streamer); ok {
		p.tables.follow(streamer.Stream(), from)
	}
	s := &session{
		p: p, reader: reader, writer: writer, delays: delays, queue: newQueue(p.opt.BufferBytes), shapes: p.watchShapes(),
	}
	s.fed.at = from
	s.gathered.writer, _ = writer.(entrain.Gatherer)
	if err := p.foretell(ctx, writer); err != nil {
		return err
	}
	if err := p.attach(s); err != nil {
		return err
	}
	defer p.detach(s)
	defer p.tables.close()
	p.unguard()
	return s.run(ctx, work)
}

// restore asks whoever keeps the position where to go on.
func (p *Pipeline) restore(ctx context.Context, w entrain.Writer) (entrain.Position, error) {
	if positioner, ok := w.(entrain.Positioner); ok {
		at, err := p.takeOver(ctx, positioner)
		return at, fromSink(err)
	}
	if p.opt.Store == nil {
		return entrain.Position{}, errors.New("the sink keeps no position and there is no store")
	}
	c, err := p.opt.Store.Load(ctx)
	if err != nil {
		return entrain.Position{}, err
	}
	marker, ok := w.(entrain.Marker)
	if !ok {
		return c.Position, nil
	}
	if err := marker.Restore(ctx, c.Mark); err != nil {
		return entrain.Position{}, fmt.Errorf("bring the sink back to %s: %w", c.Position, err)
	}
	if c.Mark == nil {
		// What is there now was not written by us: a crash before the first
		// position must not leave a doubt about what was.
		c.Mark = marker.Mark()
		err = p.opt.Store.Save(ctx, c)
	}
	return c.Position, err
}

// takeOver asks a sink that keeps the position. A sink that has none although
// it had one has lost its data, too: to begin anew where the source stands would
// be a silent jump (P5). What it had is remembered in the store, if there is
// one, and while the pipeline runs.
func (p *Pipeline) takeOver(ctx context.Context, sink entrain.Positioner) (entrain.Position, error) {
	at, err := sink.Position(ctx)
	if err != nil || !at.IsZero() {
		return at, err
	}
	had := p.lastPosition()
	if had.IsZero() && p.opt.Store != nil {
		c, err := p.opt.Store.Load(ctx)
		if err != nil {
			return at, err
		}
		had = c.Position
	}
	if had.IsZero() {
		return at, nil
	}
	next := "entrain teardown FILE; empty the tables at the target (TRUNCATE), so that run copies them anew; entrain run FILE"
	if p.opt.Relayed { // the source and the other sinks are as they should be
		next = "empty the tables at this target (TRUNCATE); mv STATE/state.db STATE/state.db.old; entrain snapshot start FILE --sink SINK"
	}
	return at, &entrain.Stop{
		Code: "position_lost",
		What: fmt.Sprintf("the sink has no position of this pipeline, but it had one: %s or later", had),
		Why: "its database was made anew or restored from an older backup, or the sink's URL leads to another one; " +
			"what was delivered before is not there",
		Next: next,
	}
}

// run moves changes. The first error of either side is the session's; when
// reading ends as it should, what was read is still written.
func (s *session) run(ctx, work context.Context) error {
	if err := s.p.makeLacking(ctx); err != nil {
		return err
	}
	if err := s.p.letters.begin(ctx); err != nil {
		return err
	}
	if err := s.p.seen.begin(ctx, s.writer); err != nil {
		return err
	}
	reading, stopReading := context.WithCancel(ctx)
	defer stopReading()
	var wg sync.WaitGroup
	var readErr, chunkErr error
	wg.Go(func() {
		defer s.queue.close()
		readErr = s.read(reading)
	})
	wg.Go(func() {
		if chunkErr = s.readChunks(reading); chunkErr != nil {
			stopReading()
		}
	})
	writeErr := s.writeWatched(work)
	stopReading()
	s.queue.close()
	if writeErr != nil {
		// A reader may be blocked in a way that only closing ends.
		closeQuietly(s.p, "source", s.reader)
	}
	wg.Wait()
	s.freeRest()
	if writeErr != nil {
		return writeErr
	}
	if chunkErr != nil {
		return chunkErr
	}
	if readErr != nil && ctx.Err() == nil {
		return fmt.Errorf("read from source: %w", readErr)
	}
	return nil
}

// read fills the queue until the source is done or ctx ends, which are no
// errors.
func (s *session) read(ctx context.Context) error {
	for {
		b, err := s.reader.Read(ctx)
		if err == io.EOF || err != nil && ctx.Err() != nil {
			return s.p.becomeDraining()
		}
		if err != nil {
			return err
		}
		if err := s.watched(ctx, b); err != nil {
			free(b)
			return err
		}
		s.noteRead(b)
		if err := s.p.point(PointReceived); err != nil {
			free(b)
			return err
		}
		idle := s.queue.held() == 0
		err = s.handOn(ctx, s.p.withoutCopied(b))
		if errors.Is(err, errDraining) {
			return s.p.becomeDraining()
		}
		if err != nil {
			return err
		}
		if idle {
			// The writing goroutine is woken here and now, instead of on
			// another processor that has to be woken first.
			runtime.Gosched()
		}
	}
}

// watched puts what a batch says about shapes between its events.
func (s *session) watched(ctx context.Context, b *entrain.Batch) error {
	s.handing.Lock()
	defer s.handing.Unlock()
	if defines(b.Events) {
		if err := s.define(ctx, b); err != nil {
			return err
		}
	}
	if s.p.opt.Relayed {
		return nil
	}
	if err := s.shapes.pass(ctx, b); err != nil {
		return err
	}
	for _, r := range s.shapes.remade {
		if err := s.p.tables.remade(ctx, r); err != nil {
			return err
		}
	}
	s.shapes.remade = nil
	return nil
}

// saveEvery is how often the position of a sink that cannot keep it is saved: a
// save costs a sync of its own. A crash in between repeats what a marker cuts
// off, and what any other sink has to recognise by its id.
const saveEvery = 50 * time.Millisecond

// write empties the queue until it is closed and empty.
func (s *session) write(work context.Context) error {
	for {
		what, a := s.queue.wait(work, s.saveTimer(), s.asks())
		switch what {
		case asked:
			if err := s.answer(work, a); err != nil {
				return err
			}
		case arrived:
			if err := s.deliverQueued(work); err != nil {
				return err
			}
		case expired:
			if err := s.settleAll(work); err != nil {
				return err
			}
		case ended:
			if err := context.Cause(work); err != nil {
				return err
			}
			return s.settleAll(work)
		}
	}
}

// saveTimer fires when an owed position is to be saved, or what was gathered is to be
// made durable; nil if there is neither.
func (s *session) saveTimer() <-chan time.Time {
	switch {
	case !s.gathered.through.IsZero():
		return time.After(time.Until(s.gathered.due()))
	case !s.owed.IsZero():
		return time.After(time.Until(s.saved.Add(saveEvery)))
	}
	return nil
}

// deliverQueued delivers what belongs in one write and frees it.
func (s *session) deliverQueued(work context.Context) error {
	limit := s.p.seen.limit(s.p.opt.BatchBytes)
	if s.p.opt.Circuit.probes() {
		limit = 1 // one batch is the probe
	}
	s.parts = s.queue.take(limit, s.parts[:0])
	if len(s.parts) == 0 { // the queue was closed meanwhile: the end of what was there will not come
		return nil
	}
	err := s.deliverMerged(work, s.merge())
	for _, b := range s.parts {
		free(b)
	}
	return err
}

// merge makes one batch of the parts at hand.
func (s *session) merge() *entrain.Batch {
	if len(s.parts) == 1 {
		return s.parts[0]
	}
	merged := &entrain.Batch{Events: s.merged[:0], Through: s.parts[len(s.parts)-1].Through}
	for _, b := range s.parts {
		merged.Events = append(merged.Events, b.Events...)
		merged.Bytes += b.Bytes
		merged.Filtered += b.Filtered
	}
	s.merged = merged.Events
	return merged
}

// deliver writes a batch. If that made anything durable, the position is saved
// and then the source told, in this order: what is confirmed is saved, what is
// saved is durable (P1, P2).
func (s *session) deliver(work context.Context, b *entrain.Batch) error {
	if err := s.p.point(PointWriting); err != nil {
		return err
	}
	out, err := s.hand(work, b)
	if err != nil {
		return err
	}
	s.p.seen.accepted(out.doubled)
	s.p.mu.Lock()
	err = s.fed.noteWritten(uint64(len(s.parts)), b, out)
	s.p.mu.Unlock()
	s.within = b.Through.IsZero() && (s.within || len(b.Events) > 0)
	if err != nil || b.Through.IsZero() {
		return err
	}
	return s.durable(work, b)
}

// durable is what follows once the sink has everything durably up to the end of a
// batch.
func (s *session) durable(work context.Context, b *entrain.Batch) error {
	s.gathered.through, s.gathered.ended = entrain.Position{}, time.Now()
	s.p.reached()
	s.p.letters.durable()
	forgotten := s.p.seen.durable(work)
	if err := s.p.point(PointDurable); err != nil {
		return early(err)
	}
	drops, err := s.p.tables.durable(work, s.parts, func() *Checkpoint { return s.checkpoint(b.Through) })
	if err != nil {
		return err
	}
	if drops {
		s.p.dropDoubles(work, s.writer)
	}
	s.owed = b.Through
	_, kept := s.writer.(entrain.Positioner)
	if !kept && forgotten == nil && time.Since(s.saved) < saveEvery {
		return nil
	}
	if err := s.settle(work); err != nil {
		return err
	}
	return forgotten // behind a position that is saved it comes again no more
}

// settle saves the position that is owed and then tells the source.
func (s *session) settle(work context.Context) error {
	at := s.owed
	if at.IsZero() {
		return nil
	}
	if err := s.save(work, at); err != nil {
		return fmt.Errorf("save position %s: %w", at, err)
	}
	s.owed, s.saved = entrain.Position{}, time.Now()
	if err := s.p.point(PointSaved); err != nil {
		return early(err)
	}
	if err := s.reader.Ack(work, at); err != nil {
		return fmt.Errorf("confirm %s to the source: %w", at, err)
	}
	s.p.mu.Lock()
	s.fed.noteAcked()
	if s.fed.events.acked > 0 {
		s.p.state.recovered()
	}
	s.p.mu.Unlock()
	s.delays.reset()
	return early(s.p.point(PointAcked))
}

// save stores the position unless the sink has it.
func (s *session) save(ctx context.Context, at entrain.Position) error {
	if c := s.checkpoint(at); c != nil {
		return s.p.opt.Store.Save(ctx, *c)
	}
	return s.remember(ctx, Checkpoint{Position: at})
}

// checkpoint is what has to be saved at the position; nil if the sink has it.
func (s *session) checkpoint(at entrain.Position) *Checkpoint {
	if _, ok := s.writer.(entrain.Positioner); ok {
		return nil
	}
	c := Checkpoint{Position: at, Mark: s.p.seen.back.marked()}
	if marker, ok := s.writer.(entrain.Marker); ok {
		c.Mark = marker.Mark()
	}
	return &c
}

// remember notes once a session that the sink has a position; see takeOver.
func (s *session) remember(ctx context.Context, c Checkpoint) error {
	if s.remembered || s.p.opt.Store == nil {
		return nil
	}
	s.remembered = true
	return s.p.opt.Store.Save(ctx, c)
}

func (s *session) position() entrain.Position {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.fed.at
}

// freeRest gives back what was read but not written.
func (s *session) freeRest() {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	for _, b := range s.queue.batches {
		free(b)
	}
	s.queue.drop(len(s.queue.batches))
}

// causeOf explains an error that came from the end of ctx.
func causeOf(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// closeQuietly closes one end; its error changes nothing, since what counts
// was durable before.
func closeQuietly(p *Pipeline, what string, c io.Closer) {
	if err := c.Close(); err != nil {
		p.log.Debug("close", "what", what, "error", err)
	}
}
