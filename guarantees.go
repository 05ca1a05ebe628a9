package entrain

// Guarantees says which of the promises that depend on where changes go hold
// there. P1 and P3 always do.
type Guarantees struct {
	// Once is P2: no change has its effect twice. Otherwise a change may come again
	// after a crash, with the same id.
	Once bool
	// Whole is P4: a source transaction becomes visible whole.
	Whole bool
	// Why is what takes a promise away, for people; empty if both hold.
	Why string
}

// Guarantor is a Sink, or a durable stream, that says without dialling what its
// configuration lets hold.
type Guarantor interface {
	Guarantees() Guarantees
}

// And is what holds of something that both stand before.
func (g Guarantees) And(other Guarantees) Guarantees {
	why := g.Why
	if why != "" && other.Why != "" {
		why += "; "
	}
	return Guarantees{Once: g.Once && other.Once, Whole: g.Whole && other.Whole, Why: why + other.Why}
}

// String lists the promises that hold, and why another does not.
func (g Guarantees) String() string {
	text := "P1"
	if g.Once {
		text += " P2"
	}
	text += " P3"
	if g.Whole {
		text += " P4"
	}
	if g.Why != "" {
		text += " (" + g.Why + ")"
	}
	return text
}
