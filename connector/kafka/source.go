package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/encoding"
	"github.com/entrainsync/entrain/stream"
)

// source reads one partition of a log. It is safe for several goroutines.
type source struct {
	log       *Log
	cursor    string
	partition stream.Partition
	// bounded: it ends where the log does when it is opened, or at until, if that is
	// not 0.
	bounded bool
	until   int64
}

var _ entrain.Bounder = (*source)(nil)

const (
	// fetchBytes is how much is asked for at once, and pollRecords how many of the
	// records are looked at, before they are made into batches (P6).
	fetchBytes  = 4 << 20
	pollRecords = 20_000
)

// Until implements [entrain.Bounder]: "now", or the offset of a position.
func (s *source) Until(target string) (entrain.Source, error) {
	until := *s
	until.bounded = true
	if target == "now" {
		return &until, nil
	}
	number, err := s.log.number(s.partition)
	if err != nil {
		return nil, err
	}
	if until.until, err = parseOffset(target, number); err != nil {
		return nil, fmt.Errorf("a stream ends now or at a position: %w", err)
	}
	return &until, nil
}

// clocks is by how much the clocks of sources, of captures and of brokers may differ.
const clocks = 5 * time.Minute

// Rewind implements [stream.Rewinder], by the records' time stamps.
func (l *Log) Rewind(ctx context.Context, p stream.Partition, t time.Time) (from entrain.Position, whole bool, err error) {
	number, err := l.number(p)
	if err != nil {
		return from, false, err
	}
	err = l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		topic, err := l.ensureTopic(ctx, adm)
		if err != nil {
			return err
		}
		first, err := oneOffset(adm.ListStartOffsets(ctx, l.name))(l.name, number)
		at := first
		if err == nil && !t.IsZero() {
			at, err = oneOffset(adm.ListOffsetsAfterMilli(ctx, t.Add(-clocks).UnixMilli(), l.name))(l.name, number)
		}
		from = entrain.Position{Incarnation: idText(topic.id), Offset: offsetText(number, at)}
		whole = first == 0 || at > first
		return err
	})
	if err != nil {
		err = fmt.Errorf("rewind partition %s: %w", p, err)
	}
	return from, whole, err
}

// offsetText is a position's offset: the partition and the next offset.
func offsetText(partition int32, offset int64) string {
	return strconv.Itoa(int(partition)) + "/" + strconv.FormatInt(offset, 10)
}

// parseOffset is the reverse; it refuses another partition's.
func parseOffset(text string, partition int32) (int64, error) {
	number, digits, _ := strings.Cut(text, "/")
	offset, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || offset < 0 || number != strconv.Itoa(int(partition)) {
		return 0, fmt.Errorf("%q is no position in partition %d", text, partition)
	}
	return offset, nil
}

// Open implements [entrain.Source].
func (s *source) Open(ctx context.Context, from entrain.Position) (entrain.Reader, error) {
	number, err := s.log.number(s.partition)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read partition %s: %w", s.partition, err)
	}
	r := &reader{log: s.log, cursor: s.cursor, number: number, at: from, end: -1}
	if err = s.log.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		if s.bounded {
			if err := s.log.marked(ctx, adm); err != nil {
				return err
			}
		}
		return r.begin(ctx, adm)
	}); err != nil {
		return nil, fmt.Errorf("read partition %s: %w", s.partition, err)
	}
	if s.bounded {
		r.end = r.last
	}
	if s.until > 0 {
		r.end, r.until = min(r.last, s.until), s.until
	}
	opts, err := s.log.sink.options()
	if err != nil {
		return nil, err
	}
	pool := newRecordPool()
	unpack, err := newUnpacker(s.log.sink.unpacked, pool)
	if err != nil {
		return nil, err
	}
	r.client, err = kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.log.name: {number: kgo.NewOffset().At(r.next)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(fetchBytes), kgo.FetchMaxPartitionBytes(fetchBytes), kgo.MaxConcurrentFetches(1),
		kgo.FetchMaxWait(time.Second), kgo.WithPools(pool), kgo.WithDecompressor(unpack), kgo.WithHooks(unpack),
	)...)
	if err != nil {
		return nil, err
	}
	r.decoder = encoding.NewNativeDecoder(encoding.NativeDecoderOptions{Shapes: r.shape})
	r.start(context.WithoutCancel(ctx))
	return r, nil
}

// marked waits until the last transaction that this log's producer has decided shows:
// the brokers write its marks after they have answered. Where the state of producers
// cannot be asked for (before Kafka 3.0, or without the right), what shows counts.
func (l *Log) marked(ctx context.Context, adm *kadm.Client) error {
	for {
		list, err := adm.DescribeTransactions(ctx, l.sink.transactionalID)
		if err != nil || !strings.HasPrefix(list[l.sink.transactionalID].State, "Prepare") {
			return ctx.Err()
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// begin finds out where the partition begins and ends, and whether the position
// is still one of its.
func (r *reader) begin(ctx context.Context, adm *kadm.Client) error {
	t, err := r.log.ensureTopic(ctx, adm)
	if err != nil {
		return err
	}
	r.topicID = idText(t.id)
	if !r.at.IsZero() && r.at.Incarnation != r.topicID {
		return r.log.stopRecreated(r)
	}
	if !r.at.IsZero() {
		if r.next, err = parseOffset(r.at.Offset, r.number); err != nil {
			return err
		}
	}
	if err := r.log.sink.suits(ctx, adm, question{r.log.sink.events(r.log.name), usedStream}); err != nil {
		return err
	}
	first, err := oneOffset(adm.ListStartOffsets(ctx, r.log.name))(r.log.name, r.number)
	if err != nil {
		return err
	}
	r.last, err = oneOffset(adm.ListCommittedOffsets(ctx, r.log.name))(r.log.name, r.number)
	if err != nil {
		return err
	}
	switch {
	case r.next < first:
		return r.log.stopOverrun(r.number, r.next, first)
	case r.next > r.last:
		return r.log.stopTruncated(r.number, r.next, r.last)
	}
	return nil
}

// oneOffset picks a partition's offset out of a list.
func oneOffset(list kadm.ListedOffsets, err error) func(topic string, partition int32) (int64, error) {
	return func(topic string, partition int32) (int64, error) {
		if err != nil {
			return 0, err
		}
		o, there := list.Lookup(topic, partition)
		if !there {
			return 0, kerr.UnknownTopicOrPartition
		}
		return o.Offset, o.Err
	}
}

// anew is how a sink gets its rows of which the stream has lost something.
const anew = "feed this sink by a pipeline of its own, or begin anew with all sinks: docs/stream.md, A sink that comes later"

// stopRecreated is for a position of a topic that was deleted.
func (l *Log) stopRecreated(r *reader) error {
	return &entrain.Stop{
		Code: "stream_recreated",
		What: fmt.Sprintf("the topic %s is another one than position %s is of", l.name, r.at),
		Why:  "it was deleted and made anew; what it had between the two is not known",
		Next: fmt.Sprintf("have all tables written to it anew: entrain table resync FILE TABLE…; then let this sink begin at its first record: "+
			"incarnation '%s', position '%d/0' (docs/kafka.md, Delivering again)", r.topicID, r.number),
		Lost: true,
	}
}

// stopOverrun is for events that the brokers removed before they were read.
func (l *Log) stopOverrun(partition int32, at, first int64) error {
	return &entrain.Stop{
		Code: "stream_overrun",
		What: fmt.Sprintf("partition %d of the topic %s begins at offset %d, and %d comes next", partition, l.name, first, at),
		Why:  "the topic's retention was shorter than this sink was behind: the changes between are gone",
		Next: fmt.Sprintf("keep more: kafka-configs.sh %s --alter --entity-type topics --entity-name %s --add-config retention.ms=MILLISECONDS; "+
			"then "+anew, l.sink.bootstrap(), quote(l.name)),
		Lost: true,
	}
}

// stopTruncated is for brokers that lost what they had confirmed.
func (l *Log) stopTruncated(partition int32, at, last int64) error {
	return &entrain.Stop{
		Code: "stream_truncated",
		What: fmt.Sprintf("partition %d of the topic %s ends at offset %d, before position %d", partition, l.name, last, at),
		Why:  "a replica that lacked confirmed records became the leader, or the position is of another cluster",
		Next: fmt.Sprintf("look at the topic: kafka-topics.sh %s --describe --topic %s; then "+anew,
			l.sink.bootstrap(), quote(l.name)),
		Lost: true,
	}
}

// isOverrun reports whether the brokers do not have an offset any more.
func isOverrun(err error) bool {
	var gone *kgo.ErrDataLoss
	return errors.Is(err, kerr.OffsetOutOfRange) || errors.As(err, &gone)
}
