package packed

import "fmt"

// same reports that two digests are of one message, as far as they are known.
func same(a, b uint64) bool { return a == b || a == 0 || b == 0 }

// descends makes a stop of a message that follows another one than that which was read
// or delivered under the same number. A server that was restored from a backup, or has lost
// what it had acknowledged, gives the numbers out once more: without this look the sink
// would pass over what has them now.
func (r *reader) descends(v *envelope, number uint64) error {
	switch {
	case v.marker():
		// It is about what is finished; torn messages in front of it may be gone.
		if r.root == 0 || v.base > r.solid || v.base == r.solid && same(v.parent, r.root) {
			return nil
		}
		return r.rewritten(r.solid, number)
	case r.skipping || same(v.parent, r.tip):
		return nil
	}
	return r.rewritten(r.read, number)
}

func (r *reader) rewritten(before, number uint64) error {
	return stopRecreated(r.src.partition, r.position(), fmt.Sprintf("message %d of it is not the one behind which message %d was written: "+
		"it was restored from a backup, or lost its latest messages, and was written to since", before, number))
}
