package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// plainWriter is a writer without transactions. What it wrote can be seen at once, and
// can be read back.
type plainWriter struct{ *writer }

var _ entrain.Recaller = (*plainWriter)(nil)

// recallMargin is how much earlier than the mark the reading back begins, for topics
// whose time stamps are the broker's clock.
const recallMargin = 2 * time.Second

// setBack is how much earlier than at the mark a clock may be without a record behind
// the mark looking as if it were in front of it. Brokers refuse time stamps that are
// further ahead of theirs.
const setBack = time.Hour

// notBefore is now, or the mark if the clock was set back behind that.
func notBefore(mark, now time.Time) time.Time {
	if ahead := mark.Round(0).Sub(now.Round(0)); ahead > 0 && ahead <= setBack {
		return mark
	}
	return now
}

// Mark implements [entrain.Recaller]: the time, in ms since 1970, before which all that
// was written is behind the position.
func (w *plainWriter) Mark() []byte { return strconv.AppendInt(nil, w.settled.UnixMilli(), 10) }

// Recall implements [entrain.Recaller]: it reads the topics' ends. Changes that are
// several records are told of only where it can be seen that all are there: moves of a
// key and truncates never are. A topic that may not be read, and the formats that do
// not say the id and the operation in headers of ours, are [errors.ErrUnsupported].
func (w *plainWriter) Recall(ctx context.Context, mark []byte, found func(id []byte)) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	defer w.leave()
	ms, err := strconv.ParseInt(string(mark), 10, 64)
	if err != nil {
		return fmt.Errorf("the mark %q is not one of a topic's: %w", mark, errors.ErrUnsupported)
	}
	w.settled = notBefore(time.UnixMilli(ms), w.settled)
	if f := w.shape.format; strings.HasPrefix(f, "debezium") || f == "cloudevents" {
		return fmt.Errorf("records of the format %s do not say what is needed: %w", f, errors.ErrUnsupported)
	}
	err = bounded(ctx, 2*patience, func(ctx context.Context) error {
		parts, err := w.tails(ctx, time.UnixMilli(ms).Add(-recallMargin))
		if err != nil || len(parts.ends) == 0 {
			return err
		}
		return w.readTails(ctx, parts, found)
	})
	if what := denied(err); what != "" {
		return fmt.Errorf("the user may not read them (%w): %w", err, errors.ErrUnsupported)
	}
	return w.failure(err)
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// tails are ends of partitions.
type tails struct {
	from map[string]map[int32]kgo.Offset
	ends map[place]int64 // behind the last record
}

// tails returns what the topics of the sink have since a time.
func (w *plainWriter) tails(ctx context.Context, since time.Time) (tails, error) {
	t := tails{map[string]map[int32]kgo.Offset{}, map[place]int64{}}
	all, err := w.admin.ListTopics(ctx)
	if err != nil {
		return t, err
	}
	mine := regexp.MustCompile("^(" + topicPattern(w.shape.topic) + "|" + topicPattern(w.shape.messages) + ")$")
	var names []string
	for _, name := range all.Names() {
		if mine.MatchString(name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return t, nil
	}
	first, err := listed(w.admin.ListOffsetsAfterMilli(ctx, since.UnixMilli(), names...))
	if err != nil {
		return t, err
	}
	end, err := listed(w.admin.ListEndOffsets(ctx, names...))
	if err != nil {
		return t, err
	}
	first.Each(func(o kadm.ListedOffset) {
		last, known := end.Lookup(o.Topic, o.Partition)
		if !known || o.Offset >= last.Offset {
			return
		}
		if t.from[o.Topic] == nil {
			t.from[o.Topic] = map[int32]kgo.Offset{}
		}
		t.from[o.Topic][o.Partition] = kgo.NewOffset().At(o.Offset)
		t.ends[place{o.Topic, o.Partition}] = last.Offset
	})
	return t, nil
}

func listed(offsets kadm.ListedOffsets, err error) (kadm.ListedOffsets, error) {
	if err == nil {
		err = offsets.Error()
	}
	return offsets, err
}

// topicPattern is a regular expression for the topics that a pattern stands for.
func topicPattern(pattern string) string {
	return strings.NewReplacer(`\{source\}`, ".*", `\{schema\}`, ".*", `\{table\}`, ".*").Replace(regexp.QuoteMeta(pattern))
}

// readTails reads up to the ends.
func (w *plainWriter) readTails(ctx context.Context, t tails, found func(id []byte)) error {
	opts, err := w.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(opts, kgo.ConsumePartitions(t.from), kgo.FetchMaxWait(100*time.Millisecond), kgo.KeepControlRecords())...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	for len(t.ends) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			at := place{r.Topic, r.Partition}
			if end, open := t.ends[at]; open && r.Offset+1 >= end {
				delete(t.ends, at)
			}
			if id := w.shape.whole(r); id != nil {
				found(id)
			}
		}
	}
	return nil
}

// whole is the id of the event of a record with which all records of the event are
// there; nil if that is not known.
func (s *shape) whole(r *kgo.Record) (id []byte) {
	op := ""
	for i := range r.Headers {
		switch h := &r.Headers[i]; h.Key {
		case headerID:
			id = h.Value
		case headerOp:
			op = string(h.Value)
		case headerNewKey, headerOldKey: // one of the two halves of a move
			return nil
		}
	}
	switch op {
	case "insert", "update", "message":
		return id
	case "delete": // the tombstone is behind it
		if !s.tombstones || r.Key == nil || r.Value == nil {
			return id
		}
	}
	return nil
}
