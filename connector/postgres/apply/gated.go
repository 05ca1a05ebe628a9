package apply

import "github.com/entrainsync/entrain"

var _ entrain.RowKeeper = (*Sink)(nil)

// Gated implements [entrain.RowKeeper].
func (s *Sink) Gated() bool { return false }
