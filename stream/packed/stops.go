package packed

import (
	"errors"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
	"github.com/entrainsync/entrain/stream/frame"
)

// restart begins a delivery anew where what it needs is gone from the stream.
const restart = "entrain teardown FILE; empty the tables at the target (TRUNCATE …), since rows that were deleted meanwhile would stay; entrain run FILE"

func stopRecreated(p stream.Partition, from entrain.Position, why string) error {
	return &entrain.Stop{
		Code: "stream_recreated", Lost: true,
		What: fmt.Sprintf("the stream of %s is another one than that whose message %s was delivered last", p, from),
		Why:  why + "; what was written in between is not known",
		Next: restart,
	}
}

func (s *source) stopOverrun(from entrain.Position, first uint64) error {
	what := fmt.Sprintf("the stream of %s has no longer what follows message %s: it begins with message %d", s.partition, from, first)
	if from.IsZero() {
		what = fmt.Sprintf("the stream of %s has no longer its beginning, which this sink has not read: it begins with message %d", s.partition, first)
	}
	sink, _ := strings.CutPrefix(s.cursor, string(s.partition)+".")
	next := fmt.Sprintf("entrain snapshot start FILE --sink %s   # delivers all rows once more, and this sink begins with them", sink)
	if !from.IsZero() {
		next = "empty the tables at this sink (TRUNCATE …), since rows that were deleted meanwhile would stay; " + next
	}
	return &entrain.Stop{
		Code: "stream_overrun", Lost: true,
		What: what,
		Why: "messages were removed by the retention while this sink was not among the stream's readers in FILE, " +
			"or by somebody at the server; or they were damaged where they are stored",
		Next: next,
	}
}

// unreadable makes a stop of what cannot be decoded. Who writes next to us is seen
// by our writer, which appends nothing behind such a message: without it the stream
// is whole.
func (s *Sequence) unreadable(p stream.Partition, number uint64, err error) *entrain.Stop {
	stop := &entrain.Stop{
		Code: "stream_damaged", Lost: true,
		What: fmt.Sprintf("message %d of the stream of %s cannot be read", number, p),
		Why:  "it was damaged where it is stored, or written by another program",
		Next: restart,
		Err:  err,
	}
	if errors.Is(err, frame.ErrVersion) {
		stop.Code, stop.Lost = "stream_version", false
		stop.Why = "a newer version of entrain wrote it, or another program"
		stop.Next = "install that version here, too; entrain run FILE"
	}
	if s.Look != nil && s.Remove != nil {
		stop.Next = fmt.Sprintf("look at it: %s; if another program wrote it, take it out: %s; entrain run FILE; if not: %s",
			s.Look(number), s.Remove(number), stop.Next)
	}
	return stop
}

// stopProducer is for a writer that found messages that are none of ours.
func (w *writer) stopProducer(number uint64, err error) error {
	stop := w.seq.unreadable(stream.Partition(w.log.cfg.Producer), number, err)
	stop.Lost = false
	return stop
}
