package campaign

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dialKafka is a client of its own at the fleet's broker.
func (f *fleet) dialKafka(opts ...kgo.Opt) *kgo.Client {
	f.t.Helper()
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(f.broker))...)
	if err != nil {
		f.t.Fatal(err)
	}
	return client
}

// records returns all committed records of the stream's topic, by partition.
func (f *fleet) records(t testing.TB) map[int32][]*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := f.dialKafka(kgo.ConsumeTopics(f.topic()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond))
	defer client.CloseAllowingRebalance()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, f.topic())
	if err != nil {
		t.Fatal(err)
	}
	all := map[int32][]*kgo.Record{}
	left := map[int32]bool{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = true
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read the topic: %v", err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			end, _ := ends.Lookup(f.topic(), r.Partition)
			if r.Offset+1 >= end.Offset {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() && r.Offset < end.Offset {
				all[r.Partition] = append(all[r.Partition], r)
			}
		})
	}
	return all
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// unique checks that the topic has each change once (P2), and returns how many
// there are. Both halves of a change of a key have the event's id; what is about no
// row is in every partition.
func (f *fleet) unique(t testing.TB) int {
	t.Helper()
	seen := map[string]bool{}
	doubles := 0
	for _, list := range f.records(t) {
		for _, r := range list {
			op := header(r, "entrain-op")
			switch op {
			case "insert", "update", "delete", "read":
			default:
				continue
			}
			id := header(r, "entrain-id") + " " + op
			if seen[id] {
				doubles++
				t.Logf("twice in the topic: %s, key %s", id, r.Key)
			}
			seen[id] = true
		}
	}
	if doubles > 0 || len(seen) == 0 {
		t.Errorf("of %d changes in the topic %d are there twice", len(seen), doubles)
	}
	return len(seen)
}
