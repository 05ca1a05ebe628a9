package postgres

import (
	"context"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector/postgres/snapshot"
)

// Chunks implements entrain.Chunker. The session takes one connection beside the
// stream, which waits up to 5 seconds for a table that is locked.
func (s *Source) Chunks(ctx context.Context) (entrain.ChunkSession, error) {
	b, err := s.Beside("chunks")
	if err != nil {
		return nil, err
	}
	k, err := snapshot.OpenKeyed(ctx, snapshot.KeyedConfig{
		Server: b.Server, Publications: b.Publications, Wants: b.Wants, Kind: b.Kind, MaxRow: b.MaxEventBytes,
		Beat: b.Beat, At: b.At, Open: b.Open, Log: b.Log,
	})
	if err != nil {
		return nil, err // and no nil of a type
	}
	return k, nil
}
