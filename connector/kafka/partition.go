package kafka

import (
	"encoding/binary"
	"math/bits"
)

// partitioner maps a key to one of n partitions.
type partitionFunc func(key []byte, n int32) int32

func partitionBy(name string) partitionFunc {
	if name == "murmur2" {
		return func(key []byte, n int32) int32 { return int32(murmur2(key)&0x7fffffff) % n }
	}
	return func(key []byte, n int32) int32 { return int32(xxh64(key) % uint64(n)) }
}

// The primes of XXH64.
const (
	prime1 uint64 = 11400714785074694791
	prime2 uint64 = 14029467366897019727
	prime3 uint64 = 1609587929392839161
	prime4 uint64 = 9650029242287828579
	prime5 uint64 = 2870177450012600261
)

// xxh64 is XXH64 of its public specification, with the seed 0.
func xxh64(b []byte) uint64 {
	size := uint64(len(b))
	h := prime5
	if len(b) >= 32 {
		h, b = xxhStripes(b)
	}
	h += size
	for ; len(b) >= 8; b = b[8:] {
		h ^= xxhRound(0, binary.LittleEndian.Uint64(b))
		h = bits.RotateLeft64(h, 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h ^= uint64(binary.LittleEndian.Uint32(b)) * prime1
		h = bits.RotateLeft64(h, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h ^= uint64(c) * prime5
		h = bits.RotateLeft64(h, 11) * prime1
	}
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}

// xxhStripes takes the whole stripes of 32 bytes and returns what is left.
func xxhStripes(b []byte) (uint64, []byte) {
	var zero uint64 // the constants overflow only at run time
	acc := [4]uint64{zero + prime1 + prime2, prime2, 0, zero - prime1}
	for ; len(b) >= 32; b = b[32:] {
		for i := range acc {
			acc[i] = xxhRound(acc[i], binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
	h := bits.RotateLeft64(acc[0], 1) + bits.RotateLeft64(acc[1], 7) + bits.RotateLeft64(acc[2], 12) + bits.RotateLeft64(acc[3], 18)
	for _, a := range acc {
		h = (h^xxhRound(0, a))*prime1 + prime4
	}
	return h, b
}

func xxhRound(acc, lane uint64) uint64 {
	return bits.RotateLeft64(acc+lane*prime2, 31) * prime1
}

// murmur2 is MurmurHash2 with 32 bits as Kafka's own clients compute it.
func murmur2(b []byte) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b) * m
		k = (k ^ k>>24) * m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
