package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/pipeline/dedup"
)

// keyedBytes bounds a write whose changes are to be recognised by keys alone: what was
// being written when the process was killed has none yet, and comes twice.
const keyedBytes = 64 << 10

// recall is what the sink read back when the session began: of what was being written
// when the last one ended, it alone knows whether it is there.
type recall struct {
	from entrain.Recaller // nil: the sink cannot tell
	ids  map[string]bool
	// mark is stored with the position while ids are in doubt: a crash before they
	// came again needs them again.
	mark             []byte
	highest, reached uint64 // versions: of the ids, and that were given to the sink
}

// readBack asks the sink which changes it has behind the saved position.
func (v *sieve) readBack(ctx context.Context, w entrain.Writer) error {
	from, ok := w.(entrain.Recaller)
	if !ok || v.p.opt.Store == nil {
		return nil
	}
	c, err := v.p.opt.Store.Load(ctx)
	if err != nil {
		return fmt.Errorf("read position: %w", err)
	}
	if c.Mark == nil { // a crash before the first position must not leave a doubt
		c.Mark = from.Mark()
		v.back = recall{from: from}
		return v.p.opt.Store.Save(ctx, c)
	}
	back, full := recall{from: from, ids: map[string]bool{}, mark: c.Mark}, false
	err = from.Recall(ctx, c.Mark, func(id []byte) {
		if len(back.ids) < mostMarks {
			back.add(id)
		} else {
			full = true
		}
	})
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		v.p.log.Warn("what the sink was given when the last session ended cannot be read back: if it was killed in a write, that write's changes come twice", "reason", err)
		return nil
	case err != nil:
		return fromSink(fmt.Errorf("read back what the sink has: %w", err))
	case full:
		v.p.log.Warn("the sink has too many changes behind the saved position to remember them all: some may come twice", "remembered", len(back.ids))
	}
	if len(back.ids) == 0 {
		back.mark = nil
	}
	v.back = back
	return nil
}

// add remembers an id, which is source/incarnation/version/ordinal.
func (r *recall) add(id []byte) {
	r.ids[string(id)] = true
	if end := bytes.LastIndexByte(id, '/'); end > 0 {
		begin := bytes.LastIndexByte(id[:end], '/')
		version, _ := strconv.ParseUint(string(id[begin+1:end]), 10, 64) // 0 of what is not ours: it comes never
		r.highest = max(r.highest, version)
	}
}

// note puts the values of those remembered events of a batch that were read back among
// the answers of the store.
func (r *recall) note(b *entrain.Batch, there, values []string) {
	if r.mark == nil {
		return
	}
	at := 0
	var id []byte
	for i := range b.Events {
		e := &b.Events[i]
		r.reached = max(r.reached, e.Tx.Version)
		if !dedup.Remembered(e) {
			continue
		}
		if id = e.AppendID(id[:0]); r.ids[string(id)] {
			there[at] = values[at]
		}
		at++
	}
}

// durable forgets the ids once all that they can belong to is behind the position.
func (r *recall) durable() {
	if r.mark != nil && r.reached >= r.highest {
		r.ids, r.mark = nil, nil
	}
}

// marked is what is to be stored with the position, for the next session; nil if the
// sink cannot tell.
func (r *recall) marked() []byte {
	switch {
	case r.from == nil:
		return nil
	case r.mark != nil:
		return r.mark
	}
	return r.from.Mark()
}

// limit bounds a write.
func (v *sieve) limit(bytes int) int {
	if v.opt != nil && v.used && v.back.from == nil {
		return min(bytes, keyedBytes)
	}
	return bytes
}
