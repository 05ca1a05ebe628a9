package nats

import (
	"cmp"
	"context"
	"strconv"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain/stream/packed"
)

// one publishes a message after the other, for a server without batches. After a
// crash some come again: the server drops them for as long as it remembers their
// ids (duplicate_window).
func (w *writer) one(ctx context.Context, position *natsgo.Msg) (uint64, error) {
	is, _, err := w.read(ctx)
	if err != nil {
		return 0, err
	}
	if is.Owner != w.owner {
		return 0, packed.ErrFenced
	}
	acks := make([]jetstream.PubAckFuture, len(w.pending))
	ids := messageIDs{position: w.sink.position}
	for i, m := range w.pending {
		if acks[i], err = w.seq.js.PublishMsgAsync(m, jetstream.WithMsgID(ids.next(m))); err != nil {
			return 0, err
		}
	}
	for _, a := range acks {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case err := <-a.Err():
			return 0, err
		case <-a.Ok():
		}
	}
	ack, err := w.seq.js.PublishMsg(ctx, position, jetstream.WithExpectLastSequencePerSubject(w.number))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// messageIDs are the ids by which a server drops what it has already. They are the same
// whenever the same events come, and no two messages have the same one.
type messageIDs struct {
	position string // its subject
	last     string
	again    int // how many in a row have had what the last one has
}

func (ids *messageIDs) next(m *natsgo.Msg) string {
	of := cmp.Or(m.Header.Get(headerID), m.Header.Get(headerKey)) // what begins or ends a transaction has no event
	id := ids.position + "/" + of + "/" + m.Header.Get(headerOp) + "/" + m.Subject
	if id != ids.last {
		ids.last, ids.again = id, 0
		return id
	}
	ids.again++ // the messages of an event are never divided between two batches
	return id + "/" + strconv.Itoa(ids.again)
}
