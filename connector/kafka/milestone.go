package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/stream"
)

var _ stream.Milestoner = (*Log)(nil)

// tailPatience is how long it is looked whether the last records of a partition
// are any that a sink gets.
const tailPatience = 2 * time.Second

// Milestone implements [stream.Milestoner]. The position is read first: its records are
// committed with it, and so before the ends that are read then, whether the brokers
// show them already or not.
func (l *Log) Milestone(ctx context.Context) (stream.Milestone, error) {
	var m stream.Milestone
	ends := map[stream.Partition]int64{}
	begins := map[stream.Partition]int64{}
	topicID := ""
	err := l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		state, err := l.sink.recall(ctx, adm, l.sink.transactionalID+stateSuffix)
		if err != nil || state.topic == nil {
			return err
		}
		var p positionRecord
		if err := decodeState(state.keys[positionKey], &p, &p.V); err != nil {
			return fmt.Errorf("the position in topic %s: %w", state.topic.name, err)
		}
		if err := l.unmoved(ctx, adm); err != nil {
			return err
		}
		m.Source = entrain.Position{Incarnation: p.Incarnation, Offset: p.Offset}
		t, err := look(ctx, adm, l.name)
		if err != nil {
			return fmt.Errorf("look at topic %s: %w", l.name, err)
		}
		topicID = idText(t.id)
		for i := range t.partitions {
			end, err := oneOffset(adm.ListEndOffsets(ctx, l.name))(l.name, i)
			first, startErr := oneOffset(adm.ListStartOffsets(ctx, l.name))(l.name, i)
			if err = errors.Join(err, startErr); err != nil {
				return err
			}
			m.Partitions = append(m.Partitions, l.partition(i))
			begins[l.partition(i)], ends[l.partition(i)] = first, end
		}
		return nil
	})
	if err != nil {
		return stream.Milestone{}, fmt.Errorf("mark the end of %s: %w", l.name, err)
	}
	m.Passed = func(ctx context.Context, p stream.Partition, at entrain.Position) (bool, error) {
		number, err := l.number(p)
		if err != nil {
			return false, err
		}
		next := begins[p]
		if !at.IsZero() {
			if at.Incarnation != topicID {
				return false, nil
			}
			if next, err = parseOffset(at.Offset, number); err != nil {
				return false, err
			}
		}
		if next >= ends[p] {
			return true, nil
		}
		return l.nothingBetween(ctx, number, next, ends[p])
	}
	return m, nil
}

// nothingBetween reports whether no record that a sink gets is between the two
// offsets: behind the last one there are markers of Kafka's, and what was rolled
// back, which move a sink's position only now and then.
func (l *Log) nothingBetween(ctx context.Context, number int32, from, end int64) (bool, error) {
	opts, err := l.sink.options()
	if err != nil {
		return false, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.name: {number: kgo.NewOffset().At(from)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return false, err
	}
	defer client.CloseAllowingRebalance()
	within, cancel := context.WithTimeout(ctx, tailPatience)
	defer cancel()
	for {
		fetches := client.PollRecords(within, 100)
		if within.Err() != nil {
			return false, ctx.Err() // an open transaction hides what is there
		}
		if err := fetchError(within, fetches); err != nil {
			return false, l.explain(fmt.Errorf("look at the end of %s: %w", l.name, err))
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset < end && !r.Attrs.IsControl() {
				return false, nil
			}
			if r.Offset+1 >= end {
				return true, nil
			}
		}
	}
}
