package packed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream/frame"
)

// attempts is how often a writer tries to take over while another one writes.
const attempts = 20

// Position implements [entrain.Positioner]: it fences all older writers of the
// producer, removes what they left unfinished, and returns the source's position at
// the end of what is there.
func (w *writer) Position(ctx context.Context) (entrain.Position, error) {
	if err := w.enter(ctx); err != nil {
		return entrain.Position{}, err
	}
	defer w.leave()
	if w.taken {
		return entrain.Position{}, w.end(errors.New("packed: Position was called twice"))
	}
	if err := w.takeOver(ctx); err != nil {
		return entrain.Position{}, w.end(fmt.Errorf("take the stream of %s over: %w", w.log.cfg.Producer, err))
	}
	if err := w.storeText(ctx, ownsName, []byte(strconv.FormatUint(w.marker, 10))); err != nil {
		return entrain.Position{}, w.end(fmt.Errorf("take the stream of %s over: %w", w.log.cfg.Producer, err))
	}
	w.taken = true
	w.owns.Store(w.marker)
	w.finish.Store(w.base)
	w.changed()
	return w.at, nil
}

func (w *writer) takeOver(ctx context.Context) error {
	if err := w.room.measure(ctx); err != nil {
		return err
	}
	if err := w.store(ctx, ownerName, self()); err != nil {
		return err
	}
	for range attempts {
		e, err := w.ending(ctx)
		if err != nil {
			return err
		}
		err = w.mark(ctx, e)
		if errors.Is(err, ErrFenced) {
			continue // the other one was faster
		}
		if err != nil {
			return err
		}
		if e.base+1 < w.marker {
			if err := w.seq.Tail.Remove(ctx, e.base, w.marker); err != nil {
				return fmt.Errorf("remove messages %d to %d, which have no end: %w", e.base+1, w.marker-1, err)
			}
		}
		return w.forget(ctx)
	}
	return entrain.Retryable(errors.New("another writer keeps writing"))
}

// tail is how a sequence ends.
type tail struct {
	last, base uint64 // the last message, and the last finished one that is no marker
	total      uint64
	digest     uint64 // of base; 0: it is not known
	at         entrain.Position
}

// ending reads how the sequence ends. A torn tail is what is behind base.
func (w *writer) ending(ctx context.Context) (tail, error) {
	m, err := w.seq.Tail.Last(ctx)
	if err != nil || m.Number == 0 {
		return tail{}, err
	}
	v, body, err := readEnvelope(m.Data)
	if err != nil {
		return tail{}, w.stopProducer(m.Number, err)
	}
	e := tail{last: m.Number, total: v.total + uint64(len(m.Data))}
	if v.unfinished() { // of the last finished one, a marker or not
		if m, err = w.finishedAt(ctx, v.base); err != nil || m.Number == 0 {
			return e, err
		}
		if v, body, err = readEnvelope(m.Data); err != nil {
			return tail{}, w.stopProducer(m.Number, err)
		}
	}
	if e.base, e.digest = m.Number, digest(m.Data); v.marker() {
		e.base, e.digest = v.base, v.parent
	}
	if e.at, err = positionIn(body); err != nil {
		return tail{}, w.stopProducer(m.Number, err)
	}
	return e, w.idleAt(ctx, m, &e.at)
}

// finishedAt returns a finished message, an empty one for the beginning.
func (w *writer) finishedAt(ctx context.Context, number uint64) (Message, error) {
	if number == 0 {
		return Message{}, nil
	}
	m, err := w.seq.History.At(ctx, number)
	if err == nil && m.Number != number {
		err = w.stopProducer(number, fmt.Errorf("%w: it is not there", frame.ErrDamaged))
	}
	return m, err
}

// positionIn returns the source's position behind a finished message. Where the
// frame is divided among messages, the last one has only its end: such a run ends
// with a message of its own.
func positionIn(body []byte) (entrain.Position, error) {
	h, err := frame.ReadHeader(body)
	return h.Through, err
}

// idleAt replaces the position by the one that was stored later, if no event has
// come since.
func (w *writer) idleAt(ctx context.Context, finished Message, at *entrain.Position) error {
	values, err := w.seq.State.Values(ctx)
	if err != nil {
		return err
	}
	for name, value := range values {
		m, ok := readMarked(value)
		if ok && strings.HasPrefix(name, idlePrefix) && m.Number == finished.Number && same(m.Digest, digest(finished.Data)) {
			*at = entrain.Position{Incarnation: m.Incarnation, Offset: m.Offset}
		}
	}
	return nil
}

// mark appends the marker, which has the position of all that is before it.
func (w *writer) mark(ctx context.Context, e tail) error {
	msg, err := w.enc.Append(make([]byte, envelopeBytes), frame.Header{Through: e.at, Begin: e.base}, nil)
	if err != nil {
		return err
	}
	for {
		v := envelope{flags: flagMarker, previous: e.base, base: e.base, total: e.total, written: time.Now(), parent: e.digest}
		v.put(msg)
		_, last, err := w.seq.Tail.Append(ctx, e.last, [][]byte{msg})
		if err == nil {
			w.room.took(len(msg))
			w.marker, w.last, w.base, w.at, w.total, w.tip = last, last, last, e.at, e.total+uint64(len(msg)), digest(msg)
			return w.room.found()
		}
		if err := w.room.wait(ctx, err); err != nil {
			return err
		}
	}
}

// forget removes values that no longer mean anything: idle positions of older
// writers, which the marker has, and cursors that the configuration does not name.
func (w *writer) forget(ctx context.Context) error {
	values, err := w.seq.State.Values(ctx)
	if err != nil {
		return err
	}
	cursors, known := w.log.readers()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		cursor, isCursor := strings.CutPrefix(name, cursorPrefix)
		gone := isCursor && known && !slices.Contains(cursors, cursor)
		if gone || strings.HasPrefix(name, idlePrefix) && name != idleName(w.marker) {
			if err := w.storeText(ctx, name, nil); err != nil {
				return fmt.Errorf("forget %s: %w", name, err)
			}
		}
	}
	return nil
}

func idleName(marker uint64) string { return fmt.Sprintf("%s%d", idlePrefix, marker) }

func readMarked(value []byte) (m marked, ok bool) {
	err := json.Unmarshal(value, &m)
	return m, err == nil
}

// store stores a value in JSON.
func (w *writer) store(ctx context.Context, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.storeText(ctx, name, text)
}

// storeText stores a value, for which there is room in a log that is full, but not on
// a disk that is: then it waits.
func (w *writer) storeText(ctx context.Context, name string, text []byte) error {
	for {
		err := w.seq.State.Store(ctx, name, text)
		if err == nil {
			return w.room.found()
		}
		if err := w.room.wait(ctx, err); err != nil {
			return err
		}
	}
}

// owner is which process wrote last, for people.
type owner struct {
	ID   string    `json:"id"`
	Host string    `json:"host"`
	PID  int       `json:"pid"`
	At   time.Time `json:"at"`
}

const ownerName = "writer"

// process tells the processes apart.
var process = rand.Text()

func self() owner {
	host, err := os.Hostname()
	if err != nil {
		host = "?"
	}
	return owner{ID: process, Host: host, PID: os.Getpid(), At: time.Now()}
}

// explain makes an error of a writer that was fenced. If it was by a session of
// this process, which is its successor, nobody has to do anything.
func (w *writer) explain(ctx context.Context, err error) error {
	if !errors.Is(err, ErrFenced) {
		return err
	}
	by := owner{ID: process}
	values, readErr := w.seq.State.Values(ctx)
	if text := values[ownerName]; readErr == nil && text != nil {
		readErr = json.Unmarshal(text, &by)
	}
	if readErr != nil || by.ID == process {
		return entrain.Retryable(err)
	}
	return &entrain.Stop{
		Code: "fenced",
		What: fmt.Sprintf("process %d on %s has taken the stream of %s over at %s", by.PID, by.Host, w.log.cfg.Producer,
			by.At.UTC().Format(time.RFC3339)),
		Why:  "going on could lose or double changes; two processes must not run one pipeline",
		Next: "entrain status FILE; stop one of the two; entrain run FILE",
		Err:  err,
	}
}
