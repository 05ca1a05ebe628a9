package entrain

// Position says how far a source's history was consumed. It exists only at the
// end of a transaction. The zero Position means: from the start of what the
// source has to offer. Both parts are opaque: the engine and the sinks store,
// show and hand them back, and compare them for equality only.
type Position struct {
	// Incarnation is the history that Offset belongs to; see [Stream].
	Incarnation string
	// Offset is a short printable text (PostgreSQL: LSN@timeline).
	Offset string
}

// IsZero reports whether p is the zero Position.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the offset, or "start" for the zero Position.
func (p Position) String() string {
	if p.IsZero() {
		return "start"
	}
	return p.Offset
}
