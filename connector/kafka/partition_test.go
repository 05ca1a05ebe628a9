package kafka

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The values are those that the specification's own program prints.
func TestXXH64(t *testing.T) {
	for text, want := range map[string]uint64{
		"":    0xef46db3751d8e999,
		"a":   0xd24ec4f1a98c6e5b,
		"abc": 0x44bc2cf5ad770999,
		"Nobody inspects the spammish repetition": 0xfbcea83c8a378bf1,
	} {
		if got := xxh64([]byte(text)); got != want {
			t.Errorf("xxh64(%q) = %#x, want %#x", text, got, want)
		}
	}
}

// murmur2 chooses the partitions that the default partitioner of Kafka's clients
// chooses.
func TestMurmur2IsKafkas(t *testing.T) {
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	ours := partitionBy("murmur2")
	for n := range 70 {
		key := []byte(strings.Repeat("kä", n)[:n])
		want := theirs.Partition(&kgo.Record{Key: key}, 97)
		if got := ours(key, 97); int(got) != want {
			t.Errorf("key of %d bytes: partition %d, want %d", n, got, want)
		}
	}
}
