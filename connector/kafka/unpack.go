package kafka

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"unsafe"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/connector"
)

const (
	// leastUnpacked is what a batch of any topic may unpack to. Ours have no more than
	// max_message_bytes before they are packed; those of other programs can have, since
	// Kafka's own clients count what is packed.
	leastUnpacked = 16 << 20
	// lettersUnpacked is the same for dead letters: one may be larger than what the sink takes.
	lettersUnpacked = 64 << 20
	// answerUnpacked is when no more is unpacked of an answer: [fetchBytes] of what packs
	// very well.
	answerUnpacked = 64 << 20
	// recordCost is what a record takes beside its bytes.
	recordCost = int(unsafe.Sizeof(kgo.Record{}))
	// fetchKey is the kind of request whose answers have batches.
	fetchKey = 1
)

// unpackedLimit is what a batch may take, with all that records take, that was written
// with a max_message_bytes.
func unpackedLimit(maxMessage int32) int {
	return int(min(max(leastUnpacked, 8*int64(maxMessage)), math.MaxInt32))
}

// unpacker unpacks batches within bounds (P6): they come from whoever can write to the
// topic. kgo's own bounds a batch, but an answer of a few megabytes can have thousands
// of batches, and it unpacks all of them. This one leaves the rest to the next answer,
// and counts what the records take, too. It is safe for several goroutines.
type unpacker struct {
	most int // what a batch may take
	pool kgo.PoolDecompressBytes

	mu      sync.Mutex
	fetched int // what the answer at hand has taken: at most answerUnpacked and a batch
	gzip    gzip.Reader
	lz4     *lz4.Reader
	zstd    *zstd.Decoder
}

var (
	_ kgo.Decompressor  = (*unpacker)(nil)
	_ kgo.HookBrokerE2E = (*unpacker)(nil)
)

// errLater ends what is taken of an answer: kgo asks for the rest again.
var errLater = errors.New("the rest of the answer is fetched again")

func newUnpacker(most int, pool kgo.PoolDecompressBytes) (*unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(most)))
	return &unpacker{most: most, pool: pool, lz4: lz4.NewReader(nil), zstd: dec}, err
}

// OnBrokerE2E implements [kgo.HookBrokerE2E]: another answer is there.
func (u *unpacker) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == fetchKey {
		u.mu.Lock()
		u.fetched = 0
		u.mu.Unlock()
	}
}

// Decompress implements [kgo.Decompressor].
func (u *unpacker) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fetched >= answerUnpacked {
		return nil, errLater
	}
	room := u.pool.GetDecompressBytes(src, codec)
	out, err := u.unpack(room[:0], src, codec)
	if err == nil {
		cost := len(out) + recordCost*countRecords(out, u.most/recordCost)
		u.fetched += cost
		if cost > u.most {
			err = kgo.ErrMaxDecompress
		}
	}
	if err != nil {
		u.pool.PutDecompressBytes(room)
		return nil, err
	}
	return out, nil
}

func (u *unpacker) unpack(dst, src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	in := bytes.NewReader(src)
	switch codec {
	case kgo.CodecNone:
		return append(dst, src...), nil
	case kgo.CodecGzip:
		if err := u.gzip.Reset(in); err != nil {
			return nil, err
		}
		return u.readAll(dst, &u.gzip)
	case kgo.CodecLz4:
		u.lz4.Reset(in)
		return u.readAll(dst, u.lz4)
	case kgo.CodecSnappy:
		return u.snappy(dst, src)
	case kgo.CodecZstd:
		out, err := u.zstd.DecodeAll(src, dst)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded) || len(out) > u.most {
			return nil, kgo.ErrMaxDecompress
		}
		return out, err
	}
	return nil, fmt.Errorf("compression %d is not known", codec)
}

// readAll appends what there is to dst, up to the bound.
func (u *unpacker) readAll(dst []byte, from io.Reader) ([]byte, error) {
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(512, min(len(dst), u.most+1-len(dst))))
		}
		n, err := from.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		switch {
		case len(dst) > u.most:
			return nil, kgo.ErrMaxDecompress
		case errors.Is(err, io.EOF):
			return dst, nil
		case err != nil:
			return nil, err
		}
	}
}

// javaSnappy begins what Java's clients write: sixteen bytes, then blocks, each behind
// its length.
var javaSnappy = []byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

func (u *unpacker) snappy(dst, src []byte) ([]byte, error) {
	if len(src) <= 16 || !bytes.HasPrefix(src, javaSnappy) {
		return u.block(dst, src)
	}
	for src = src[16:]; len(src) > 0; {
		if len(src) < 4 || uint64(binary.BigEndian.Uint32(src)) > uint64(len(src)-4) {
			return nil, errors.New("a block of snappy is cut off")
		}
		size := int(binary.BigEndian.Uint32(src))
		var err error
		if dst, err = u.block(dst, src[4:4+size]); err != nil {
			return nil, err
		}
		src = src[4+size:]
	}
	return dst, nil
}

// block appends what a block says to dst. How much that is stands in front of it.
func (u *unpacker) block(dst, src []byte) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > u.most-len(dst) {
		return nil, kgo.ErrMaxDecompress
	}
	dst = slices.Grow(dst, n)
	if _, err := s2.Decode(dst[len(dst):len(dst)+n], src); err != nil {
		return nil, err
	}
	return dst[:len(dst)+n], nil
}

// countRecords counts the records of a batch, up to more than most of them.
func countRecords(b []byte, most int) int {
	n := 0
	for n <= most && len(b) > 0 {
		size, at := binary.Varint(b)
		if at <= 0 || size < 0 || size > int64(len(b)-at) {
			break // kgo says so
		}
		b = b[at+int(size):]
		n++
	}
	return n
}

// stopUnpacked is for a batch that would take more memory than any of ours.
func (s *server) stopUnpacked(err error) error {
	most := cmp.Or(s.unpacked, leastUnpacked)
	what, look := "a batch", ""
	var batch *kgo.ErrDecompressTooLarge
	if errors.As(err, &batch) {
		what = fmt.Sprintf("the batch at offset %d of partition %d of the topic %s", batch.Offset, batch.Partition, batch.Topic)
		look = fmt.Sprintf(" and look at it: kafka-console-consumer.sh %s --topic %s --partition %d --offset %d --max-messages 1 --property print.headers=true",
			s.bootstrap(), quote(batch.Topic), batch.Partition, batch.Offset)
	}
	return &entrain.Stop{
		Code: "batch_too_large",
		What: fmt.Sprintf("%s takes more than %s of memory when it is unpacked", what, connector.ByteSize(most)),
		Why:  "entrain with max_message_bytes as it is in FILE writes no such batch: another program did",
		Next: "find out who writes there" + look + fmt.Sprintf("; if it is meant to be: set max_message_bytes: %d in FILE; entrain run FILE", min(int64(most), mostMessage)),
		Data: true,
		Err:  err,
	}
}
