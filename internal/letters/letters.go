// Package letters keeps dead letters: their form, and a file of them for sinks that
// cannot keep them.
package letters

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/pipeline/parking"
)

// Box is a [pipeline.LetterStore] over a keeper. It may be used from several
// goroutines.
type Box struct{ keeper entrain.LetterKeeper }

// In returns the letters of a keeper.
func In(k entrain.LetterKeeper) *Box { return &Box{k} }

// Letters implements pipeline.LetterStore.
func (b *Box) Letters(ctx context.Context) ([]parking.Letter, error) {
	kept, err := b.keeper.Letters(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]parking.Letter, 0, len(kept))
	for i := range kept {
		l, err := Decode(&kept[i])
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// Park implements pipeline.LetterStore.
func (b *Box) Park(ctx context.Context, some []parking.Letter) error {
	kept := make([]entrain.DeadLetter, 0, len(some))
	for i := range some {
		l, err := Encode(&some[i])
		if err != nil {
			return err
		}
		kept = append(kept, l)
	}
	return b.keeper.KeepLetters(ctx, kept)
}

// Unpark implements pipeline.LetterStore.
func (b *Box) Unpark(ctx context.Context, ids []string) error { return b.keeper.DropLetters(ctx, ids) }

// body is what is kept of an event. Its rows are in the native format, which
// docs/format.md describes; the shapes make it complete.
type body struct {
	V        int             `json:"v"`
	Event    json.RawMessage `json:"event"`
	Settling bool            `json:"settling,omitempty"`
	Database string          `json:"database,omitempty"`
	Tables   []shape         `json:"tables,omitempty"`
}

type shape struct {
	Schema       string           `json:"schema"`
	Table        string           `json:"table"`
	FullIdentity bool             `json:"full_identity,omitempty"`
	Columns      []entrain.Column `json:"columns"`
}

const bodyVersion = 1

// Encode makes of a letter what is kept of it.
func Encode(l *parking.Letter) (entrain.DeadLetter, error) {
	e := &l.Event
	kept := entrain.DeadLetter{ID: e.ID(), Op: e.Op.String(), Class: l.Class, Reason: l.Reason, Behind: l.Behind,
		Attempts: l.Attempts, First: l.First.UTC(), Parked: l.At.UTC()}
	line, err := encoding.NewNative().Append(nil, e)
	if err != nil {
		return kept, fmt.Errorf("dead letter %s: %w", kept.ID, err)
	}
	x := body{V: bodyVersion, Event: bytes.TrimSpace(line), Settling: e.Settling, Database: e.Tx.Stream.Database}
	for _, t := range tables(e) {
		x.Tables = append(x.Tables, shape{t.Schema, t.Name, t.FullIdentity, t.Columns})
		kept.Table = t.String()
	}
	kept.Body, err = json.Marshal(x)
	return kept, err
}

func tables(e *entrain.Event) []*entrain.Table {
	switch {
	case e.Truncate != nil:
		return e.Truncate.Tables
	case e.Table != nil:
		return []*entrain.Table{e.Table}
	}
	return nil
}

// Decode is the reverse of Encode.
func Decode(kept *entrain.DeadLetter) (parking.Letter, error) {
	l := parking.Letter{Class: kept.Class, Reason: kept.Reason, Behind: kept.Behind, Attempts: kept.Attempts, First: kept.First, At: kept.Parked}
	var x body
	err := json.Unmarshal(kept.Body, &x)
	if err == nil && x.V != bodyVersion {
		err = fmt.Errorf("its form is %d, known is %d", x.V, bodyVersion)
	}
	if err != nil {
		return l, fmt.Errorf("dead letter %s: %w", kept.ID, err)
	}
	known := map[uint64]*entrain.Table{}
	for _, s := range x.Tables {
		t := &entrain.Table{Schema: s.Schema, Name: s.Table, FullIdentity: s.FullIdentity, Columns: s.Columns}
		t.Version = t.Fingerprint()
		known[t.Version] = t
	}
	d := encoding.NewNativeDecoder(encoding.NativeDecoderOptions{Database: x.Database, Shapes: func(v uint64) (*entrain.Table, error) {
		if known[v] == nil {
			return nil, fmt.Errorf("the shape %016x is not with it", v)
		}
		return known[v], nil
	}})
	e, err := d.Add(x.Event)
	if err != nil {
		return l, fmt.Errorf("dead letter %s: %w", kept.ID, err)
	}
	l.Event = *e
	l.Event.Settling = x.Settling
	return l, nil
}

// View is a letter for people: what is kept, with the event as it reads.
func View(kept *entrain.DeadLetter) (json.RawMessage, error) {
	var x body
	if err := json.Unmarshal(kept.Body, &x); err != nil {
		return nil, fmt.Errorf("dead letter %s: %w", kept.ID, err)
	}
	return json.Marshal(struct {
		*entrain.DeadLetter
		Event json.RawMessage `json:"event"`
	}{kept, x.Event})
}
