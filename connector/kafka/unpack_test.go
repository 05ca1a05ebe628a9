package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// packers make of bytes what producers write, by the codec's name.
func packers(t testing.TB) map[string]func([]byte) ([]byte, kgo.CompressionCodecType) {
	t.Helper()
	all := map[string]func([]byte) ([]byte, kgo.CompressionCodecType){
		"snappy of Java's clients": func(b []byte) ([]byte, kgo.CompressionCodecType) {
			out := append(bytes.Clone(javaSnappy), 0, 0, 0, 1, 0, 0, 0, 1)
			for ; len(b) > 0; b = b[min(len(b), 32<<10):] {
				block := s2.EncodeSnappy(nil, b[:min(len(b), 32<<10)])
				out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
			}
			return out, kgo.CodecSnappy
		},
	}
	for _, name := range compressions {
		c, err := kgo.DefaultCompressor(codec(name))
		if err != nil || c == nil && name != "none" {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = func(b []byte) ([]byte, kgo.CompressionCodecType) {
			if c == nil {
				return b, kgo.CodecNone
			}
			out, typ := c.Compress(new(bytes.Buffer), b)
			return bytes.Clone(out), typ
		}
	}
	return all
}

func testUnpacker(t testing.TB, most int) *unpacker {
	t.Helper()
	u, err := newUnpacker(most, newRecordPool())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func letters(rng *rand.Rand, n int) []byte {
	text := make([]byte, n)
	for i := range text {
		text[i] = "abcdef\x00"[rng.IntN(7)]
	}
	return text
}

// TestUnpack: what any client packs is unpacked as it was, whatever was unpacked before.
func TestUnpack(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	u := testUnpacker(t, leastUnpacked)
	for name, pack := range packers(t) {
		for _, size := range []int{1, 15, 16, 17, 511, 4096, 100_000, 3 << 20} {
			text := letters(rng, size)
			src, typ := pack(text)
			u.OnBrokerE2E(kgo.BrokerMetadata{}, fetchKey, kgo.BrokerE2E{})
			got, err := u.Decompress(src, typ)
			if err != nil || !bytes.Equal(got, text) {
				t.Fatalf("%s, %d bytes: %d bytes, %v", name, size, len(got), err)
			}
			if half, err := u.Decompress(src[:len(src)/2], typ); err == nil && bytes.Equal(half, text) {
				t.Errorf("%s: half of it is the whole", name)
			}
			u.pool.PutDecompressBytes(got)
		}
	}
}

// TestUnpackBombs: SE-10, P6. A batch of any codec that grows beyond the bound is refused
// by name, and asks for little more memory than the bound; so is one whose records take
// more than their bytes.
func TestUnpackBombs(t *testing.T) {
	const most = 1 << 20
	for name, pack := range packers(t) {
		u := testUnpacker(t, most)
		fits := make([]byte, most)
		fits[0] = 0xff // no records
		src, typ := pack(fits)
		if _, err := u.Decompress(src, typ); err != nil {
			t.Errorf("%s: what fits: %v", name, err)
		}
		for _, size := range []int{most + 1, 32 << 20} {
			src, typ := pack(make([]byte, size))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := u.Decompress(src, typ)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, kgo.ErrMaxDecompress) {
				t.Errorf("%s, %d bytes packed to %d: %v", name, size, len(src), err)
			}
			if asked := after.TotalAlloc - before.TotalAlloc; typ != kgo.CodecNone && asked > 12<<20 {
				t.Errorf("%s, %d bytes: asks for %d", name, size, asked)
			}
		}
		small, typ := pack(bytes.Repeat([]byte{2, 0}, most/4)) // records of one byte
		if _, err := u.Decompress(small, typ); !errors.Is(err, kgo.ErrMaxDecompress) {
			t.Errorf("%s: %d records: %v", name, most/4, err)
		}
	}
}

// TestUnpackAnswer: P6. Of one answer so much is unpacked and no more; the next one is
// taken from its beginning.
func TestUnpackAnswer(t *testing.T) {
	u := testUnpacker(t, leastUnpacked)
	text := make([]byte, 8<<20)
	text[0] = 0xff
	src, typ := packers(t)["zstd"](text)
	for range 3 {
		u.OnBrokerE2E(kgo.BrokerMetadata{}, fetchKey, kgo.BrokerE2E{})
		n, err := 0, error(nil)
		for ; err == nil && n < 100; n++ {
			var got []byte
			if got, err = u.Decompress(src, typ); err == nil {
				u.pool.PutDecompressBytes(got)
			}
			u.OnBrokerE2E(kgo.BrokerMetadata{}, fetchKey+1, kgo.BrokerE2E{}) // another kind of answer
		}
		if !errors.Is(err, errLater) || n-1 != answerUnpacked/len(text) {
			t.Errorf("%d batches, then %v", n-1, err)
		}
	}
	if small, large := unpackedLimit(1), unpackedLimit(mostMessage); small != leastUnpacked || large <= mostMessage {
		t.Errorf("the limits are %d and %d", small, large)
	}
}

// TestBombs: SE-10, P6. What somebody else wrote into the topic of a stream is refused by
// name, however it is packed, and does not fill the memory on the way to that.
func TestBombs(t *testing.T) {
	address := broker(t)
	for _, c := range []struct {
		bombs
		code string
	}{
		{bombs{40, 15 << 20}, "stream_foreign"}, // each may be, all of them in one answer may not
		{bombs{1, 24 << 20}, "batch_too_large"},
	} {
		t.Run(fmt.Sprint(c.batches, " of ", c.size), func(t *testing.T) {
			l := newTestLog(t, address, unique(), nil)
			if _, err := l.Partitions(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.plant(t, address, l.name)
			r, err := l.Read("cursor", l.partition(0)).Open(t.Context(), entrain.Position{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = r.Read(ctx)
			runtime.ReadMemStats(&after)
			stop := wantStop(t, err, c.code)
			if !strings.Contains(stop.What, "offset 0 of partition 0 of the topic "+l.name) || !strings.Contains(stop.Next, "--offset 0 ") {
				t.Errorf("the stop says %s; %s", stop.What, stop.Next)
			}
			if asked := after.TotalAlloc - before.TotalAlloc; asked > 256<<20 {
				t.Errorf("%d batches of %d bytes ask for %d", c.batches, c.size, asked)
			}
		})
	}
}

// bombs are batches of one record each, of zeros.
type bombs struct{ batches, size int }

func (b bombs) plant(t *testing.T, address, topic string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		kgo.ProducerBatchMaxBytes(int32(b.size)+1<<20), kgo.BrokerMaxWriteBytes(int32(b.size)+2<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range b.batches {
		if err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, b.size)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := oneOffset(kadm.NewClient(c).ListEndOffsets(t.Context(), topic))(topic, 0); err != nil {
		t.Fatal(err)
	}
}
