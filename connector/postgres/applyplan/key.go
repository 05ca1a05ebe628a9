package applyplan

import (
	"bytes"
	"hash/maphash"

	"github.com/entrainsync/entrain"
)

// keyKnown reports whether row carries a value in every key column of t.
func (t *Target) keyKnown(row entrain.Row) bool {
	for _, c := range t.Key {
		if row.State(c) != entrain.Present {
			return false
		}
	}
	return len(t.Key) > 0
}

// keyImage returns the image that identifies the row as it was before e:
// the before image where there is one, else the after image.
func keyImage(e *entrain.Event) entrain.Row {
	if len(e.Before) > 0 {
		return e.Before
	}
	return e.After
}

// Rekeys reports whether an update changes a key column. A column that one of
// the images does not carry did not change.
func (t *Target) rekeys(e *entrain.Event) bool {
	if e.Op != entrain.OpUpdate || len(e.Before) == 0 {
		return false
	}
	n := len(t.Table.Columns)
	for _, c := range t.Key {
		before, was := e.Before.Column(c, n)
		after, is := e.After.Column(c, n)
		if was == entrain.Unchanged || is == entrain.Unchanged {
			continue
		}
		if was != is || !bytes.Equal(before, after) {
			return true
		}
	}
	return false
}

func (t *Target) hashKey(seed maphash.Seed, row entrain.Row) uint64 {
	n := len(t.Table.Columns)
	hash := uint64(t.Relation)
	for _, c := range t.Key {
		v, _ := row.Column(c, n)
		hash = hash*0x9E3779B97F4A7C15 + maphash.Bytes(seed, v)
	}
	return hash
}

func (t *Target) sameKey(a, b entrain.Row) bool {
	n := len(t.Table.Columns)
	for _, c := range t.Key {
		va, _ := a.Column(c, n)
		vb, _ := b.Column(c, n)
		if !bytes.Equal(va, vb) {
			return false
		}
	}
	return true
}

// keyIndex finds the net operation of a key. It is an open hash table that is
// emptied by moving on to the next epoch, so that a batch costs no allocation
// and no clearing.
type keyIndex struct {
	seed  maphash.Seed
	slots []slot // len is a power of two; at most half are in use
	epoch uint32
	used  int
}

type slot struct {
	hash  uint64
	net   int32
	epoch uint32
}

const minSlots = 1 << 10

func (x *keyIndex) reset() {
	if x.slots == nil {
		x.seed = maphash.MakeSeed()
		x.slots = make([]slot, minSlots)
	}
	x.used = 0
	x.epoch++
	if x.epoch == 0 {
		clear(x.slots)
		x.epoch = 1
	}
}

// at returns the slot that holds the key, or the free one where it belongs.
func (x *keyIndex) at(hash uint64, same func(net int32) bool) *slot {
	mask := uint64(len(x.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &x.slots[i]
		if s.epoch != x.epoch || s.hash == hash && same(s.net) {
			return s
		}
	}
}

// put fills the free slot s that at returned.
func (x *keyIndex) put(s *slot, hash uint64, net int32) {
	*s = slot{hash: hash, net: net, epoch: x.epoch}
	if x.used++; 2*x.used > len(x.slots) {
		x.grow()
	}
}

func (x *keyIndex) grow() {
	old := x.slots
	x.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.epoch == x.epoch {
			*x.at(s.hash, func(int32) bool { return false }) = s
		}
	}
}
