package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// Checkpoint is what a pipeline has to remember between runs when its sink
// cannot. For a sink that keeps the position itself it is a position that the
// sink once had: a sink that then has none has lost its data (P5).
type Checkpoint struct {
	// Position that the sink has durably.
	Position entrain.Position `json:"position"`
	// Mark of the sink at that position; see [entrain.Marker].
	Mark []byte `json:"mark,omitempty"`
}

// Store keeps checkpoints. Save returns only when the checkpoint survives a
// crash. A Store is used by one pipeline at a time.
type Store interface {
	// Load returns the last saved checkpoint, the zero Checkpoint if none was
	// saved.
	Load(ctx context.Context) (Checkpoint, error)
	Save(ctx context.Context, c Checkpoint) error
}
