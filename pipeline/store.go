package pipeline

import (
	"context"

	"github.com/entrainsync/entrain"
)

// Checkpoint is what a pipeline has to remember between runs when its sink
// cannot.
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
