package packed

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/entrainsync/entrain/stream/frame"
)

// envelopeVersion is the first byte of every message. Those of version 1, which are read
// still, have no parent.
const envelopeVersion = 2

// The flags of a message. One without any ends a batch of whole transactions: the
// position in its frame is the source's behind it.
const (
	// flagFragment: the frame goes on in the next message.
	flagFragment = 1 << iota
	// flagMore: the batch goes on in the next frame; it can be delivered whole only.
	flagMore
	// flagPart: the transaction goes on in the next frame.
	flagPart
	// flagMarker: a writer has taken over. The frame has no events, and all messages
	// between base and this one are void.
	flagMarker

	flagsUnfinished = flagFragment | flagMore | flagPart
	flagsKnown      = flagsUnfinished | flagMarker
)

// The layout of an envelope; numbers are little-endian.
const (
	atFlags       = 1
	atIndex       = 2
	atPrevious    = 4
	atBase        = 12
	atTotal       = 20
	atTime        = 28
	atParent      = 36
	envelopeBytes = 44
	// versionOneBytes is the size of an envelope of version 1.
	versionOneBytes = 36
)

// envelope is what stands in front of a frame, or a fragment of one, so that a
// message can be placed without decoding it.
//
// Invariants: base <= previous; an unfinished message and a marker have a base
// below their own number.
type envelope struct {
	flags byte
	// index counts the messages that were appended at once, from 0.
	index uint16
	// previous is the number of the message before those that were appended at once.
	previous uint64
	// base is the number of the last finished message before it.
	base uint64
	// total counts the bytes of the messages before it, through the whole life of the
	// sequence.
	total uint64
	// written is the time by the writer's clock, in whole milliseconds.
	written time.Time
	// parent is the digest of the message before it; a marker's is that of its base. It
	// tells whether a number still is of the message that it was of: a server that has
	// lost its latest messages gives their numbers to others. 0: it is not known.
	parent uint64
}

// put writes the envelope over the first bytes of a message.
func (v *envelope) put(msg []byte) {
	msg[0], msg[atFlags] = envelopeVersion, v.flags
	binary.LittleEndian.PutUint16(msg[atIndex:], v.index)
	binary.LittleEndian.PutUint64(msg[atPrevious:], v.previous)
	binary.LittleEndian.PutUint64(msg[atBase:], v.base)
	binary.LittleEndian.PutUint64(msg[atTotal:], v.total)
	binary.LittleEndian.PutUint64(msg[atTime:], uint64(v.written.UnixMilli()))
	binary.LittleEndian.PutUint64(msg[atParent:], v.parent)
}

// digest identifies a message: FNV-1a of its envelope, which names the time and the message
// before it, and of its size. It is never 0.
func digest(msg []byte) uint64 {
	n := len(msg)
	head := msg[:min(n, envelopeBytes)]
	if n > 0 && msg[0] == 1 {
		head = msg[:min(n, versionOneBytes)]
	}
	h := fnv.New64a()
	_, _ = h.Write(head)
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return max(h.Sum64(), 1)
}

// readEnvelope returns a message's envelope and what is behind it. Errors wrap
// those of package frame.
func readEnvelope(msg []byte) (envelope, []byte, error) {
	if len(msg) < versionOneBytes {
		return envelope{}, nil, fmt.Errorf("%w: a message of %d bytes", frame.ErrDamaged, len(msg))
	}
	if msg[0] < 1 || msg[0] > envelopeVersion || msg[atFlags]&^flagsKnown != 0 {
		return envelope{}, nil, fmt.Errorf("%w: message of version %d with flags %#x", frame.ErrVersion, msg[0], msg[atFlags])
	}
	v := envelope{
		flags:    msg[atFlags],
		index:    binary.LittleEndian.Uint16(msg[atIndex:]),
		previous: binary.LittleEndian.Uint64(msg[atPrevious:]),
		base:     binary.LittleEndian.Uint64(msg[atBase:]),
		total:    binary.LittleEndian.Uint64(msg[atTotal:]),
		written:  time.UnixMilli(int64(binary.LittleEndian.Uint64(msg[atTime:]))),
	}
	switch {
	case msg[0] == 1:
		return v, msg[versionOneBytes:], nil
	case len(msg) < envelopeBytes:
		return envelope{}, nil, fmt.Errorf("%w: a message of %d bytes", frame.ErrDamaged, len(msg))
	}
	v.parent = binary.LittleEndian.Uint64(msg[atParent:])
	return v, msg[envelopeBytes:], nil
}

// follows is the number of the message that was the last one when this one, with
// the given number, was appended.
func (v *envelope) follows(number uint64) uint64 {
	if v.index > 0 {
		return number - 1
	}
	return v.previous
}

func (v *envelope) unfinished() bool { return v.flags&flagsUnfinished != 0 }
func (v *envelope) marker() bool     { return v.flags&flagMarker != 0 }
