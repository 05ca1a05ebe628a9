package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

var (
	_ entrain.Teardowner = (*Log)(nil)
	_ entrain.Teardowner = (*Sink)(nil)
)

// madeRecord says that we made a topic.
type madeRecord struct {
	V  int    `json:"v"`
	ID string `json:"id"`
}

// noteMade writes into the state topic that we made a topic: only such ones are
// removed by a teardown. Whoever makes the topic notes it, also a process that only
// delivers.
func (p *production) noteMade(ctx context.Context, adm *kadm.Client, t *topic) error {
	state := p.compacted(p.transactionalID + stateSuffix)
	if t.name != state.name {
		if _, err := p.ensure(ctx, adm, state); err != nil {
			return err
		}
	}
	value, err := appendJSON(nil, madeRecord{V: stateVersion, ID: idText(t.id)})
	if err != nil {
		return err
	}
	err = p.put(ctx, &kgo.Record{Topic: state.name, Key: []byte(madeKey + t.name), Value: value})
	if err != nil {
		return fmt.Errorf("note in %s that the topic %s was made: %w", state.name, t.name, err)
	}
	return nil
}

// put writes records outside of any transaction.
func (p *production) put(ctx context.Context, records ...*kgo.Record) error {
	opts, err := p.options()
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(opts, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(patience))...)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.ProduceSync(ctx, records...).FirstErr()
}

// kept is what a compacted topic has: the last value of each key.
type kept struct {
	topic *topic // nil: there is none
	keys  map[string][]byte
}

// made reports whether the state says that we made the topic as it is now.
func (k *kept) made(t *topic) bool {
	var r madeRecord
	value := k.keys[madeKey+t.name]
	return value != nil && decodeState(value, &r, &r.V) == nil && r.ID == idText(t.id)
}

// recall reads a compacted topic up to its end.
func (p *production) recall(ctx context.Context, adm *kadm.Client, name string) (*kept, error) {
	k := &kept{keys: map[string][]byte{}}
	var err error
	if k.topic, err = look(ctx, adm, name); err != nil {
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return k, nil
		}
		return nil, fmt.Errorf("look at topic %s: %w", name, err)
	}
	first, err := oneOffset(adm.ListStartOffsets(ctx, name))(name, 0)
	if err != nil {
		return nil, err
	}
	end, err := oneOffset(adm.ListCommittedOffsets(ctx, name))(name, 0)
	if err != nil || first >= end {
		return k, err
	}
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(100*time.Millisecond), kgo.KeepControlRecords())...)
	if err != nil {
		return nil, err
	}
	defer client.CloseAllowingRebalance()
	for next := first; next < end; {
		fetches := client.PollFetches(ctx)
		if err := fetchError(ctx, fetches); err != nil {
			return nil, fmt.Errorf("read topic %s: %w", name, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			next = r.Offset + 1
			switch {
			case r.Attrs.IsControl():
			case r.Value == nil:
				delete(k.keys, string(r.Key))
			default:
				k.keys[string(r.Key)] = r.Value
			}
		}
	}
	return k, nil
}

// Teardown implements [entrain.Teardowner]: what is remembered of the pipeline.
// Topics of events stay, since they are others' to read.
func (s *Sink) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	if !s.exactly {
		return nil, nil
	}
	var all []entrain.Removal
	err := s.asAdmin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		state, err := s.recall(ctx, adm, s.transactionalID+stateSuffix)
		if err == nil {
			all = s.removeState(state)
		}
		return err
	})
	return all, err
}

// removeState removes the state topic if we made it, else what is in it.
func (p *production) removeState(state *kept) []entrain.Removal {
	switch {
	case state.topic == nil:
		return nil
	case state.made(state.topic):
		return []entrain.Removal{p.removeTopic(state.topic.name)}
	case len(state.keys) == 0:
		return nil
	}
	name := state.topic.name
	var records []*kgo.Record
	keys := make([]string, 0, len(state.keys))
	for key := range state.keys {
		keys = append(keys, key)
		records = append(records, &kgo.Record{Topic: name, Key: []byte(key)})
	}
	return []entrain.Removal{{
		What: fmt.Sprintf("records of %s in the topic %s, which entrain did not make and which stays", p.transactionalID, name),
		SQL:  p.tombstones(name, keys),
		Do:   func(ctx context.Context) error { return p.failure(p.put(ctx, records...)) },
	}}
}

// tombstones is the command that removes what a compacted topic has under the keys.
func (s *server) tombstones(topic string, keys []string) string {
	slices.Sort(keys)
	return fmt.Sprintf("printf %s | kafka-console-producer.sh %s --topic %s --property parse.key=true --property 'key.separator=|' --property null.marker=NULL",
		quote(strings.ReplaceAll(strings.Join(keys, `|NULL\n`), "%", "%%")+`|NULL\n`), s.bootstrap(), quote(topic))
}

func (p *production) removeTopic(name string) entrain.Removal {
	return entrain.Removal{
		What: fmt.Sprintf("topic %s of the brokers %s", name, strings.Join(p.brokers, ",")),
		SQL:  fmt.Sprintf("kafka-topics.sh %s --delete --topic %s", p.bootstrap(), quote(name)),
		Do: func(ctx context.Context) error {
			return p.asAdmin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
				done, err := adm.DeleteTopics(ctx, name)
				if err == nil {
					err = done[name].Err
				}
				if err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
					return err
				}
				return awaitGone(ctx, adm, name)
			})
		},
	}
}

// awaitGone waits until the broker that is asked knows that a topic is gone.
func awaitGone(ctx context.Context, adm *kadm.Client, name string) error {
	for {
		_, err := look(ctx, adm, name)
		if errors.Is(err, kerr.UnknownTopicOrPartition) {
			return nil
		}
		if err != nil && !kerr.IsRetriable(err) {
			return err
		}
		if err := pause(ctx, metadataPause); err != nil {
			return err
		}
	}
}

func (p *production) removeGroup(name string) entrain.Removal {
	return entrain.Removal{
		What: fmt.Sprintf("consumer group %s of the brokers %s", name, strings.Join(p.brokers, ",")),
		SQL:  fmt.Sprintf("kafka-consumer-groups.sh %s --delete --group %s", p.bootstrap(), quote(name)),
		Do: func(ctx context.Context) error {
			return p.asAdmin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
				done, err := adm.DeleteGroups(ctx, name)
				if err == nil {
					err = done[name].Err
				}
				if errors.Is(err, kerr.GroupIDNotFound) {
					return nil
				}
				return err
			})
		},
	}
}

// Teardown implements [entrain.Teardowner]: the groups of the file's sinks, the
// topic with its shapes if we made them and nobody else writes there, and the state.
// From then on the log makes no topic any more.
func (l *Log) Teardown(ctx context.Context) ([]entrain.Removal, error) {
	l.mu.Lock()
	l.removed = true
	l.mu.Unlock()
	p := &l.sink.production
	var all []entrain.Removal
	err := l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error {
		groups, err := adm.ListGroups(ctx)
		if err != nil {
			return err
		}
		for _, name := range l.groups() {
			if _, there := groups[name]; there {
				all = append(all, p.removeGroup(name))
			}
		}
		state, err := p.recall(ctx, adm, p.transactionalID+stateSuffix)
		if err != nil {
			return err
		}
		if err := l.unmoved(ctx, adm); err != nil {
			return err // the state tells what is to be removed of the other one
		}
		topics, err := l.ownTopics(ctx, adm, state)
		if err != nil {
			return err
		}
		for _, name := range topics {
			all = append(all, p.removeTopic(name))
		}
		all = append(all, p.removeState(state)...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for what is left of the stream %s: %w", l.name, err)
	}
	return all, nil
}

// ownTopics are the log's topic, those that it was in before, and their shapes, as far
// as we made them; none that other producers write to.
func (l *Log) ownTopics(ctx context.Context, adm *kadm.Client, state *kept) ([]string, error) {
	logs := []string{l.name}
	for key := range state.keys {
		name, isMade := strings.CutPrefix(key, madeKey)
		if isMade && name != l.name && name != l.sink.transactionalID+stateSuffix && !strings.HasSuffix(name, shapesSuffix) {
			logs = append(logs, name)
		}
	}
	slices.Sort(logs[1:])
	var names []string
	for _, log := range logs {
		some, err := l.ownTopic(ctx, adm, topicOf{log, state})
		if err != nil {
			return nil, err
		}
		names = append(names, some...)
	}
	return names, nil
}

// topicOf is a topic that the state tells of.
type topicOf struct {
	name  string
	state *kept
}

func (l *Log) ownTopic(ctx context.Context, adm *kadm.Client, of topicOf) ([]string, error) {
	beside, err := l.sink.recall(ctx, adm, of.name+shapesSuffix)
	if err != nil {
		return nil, err
	}
	if l.othersWrite(beside, of.state) {
		return nil, nil
	}
	var names []string
	t, err := look(ctx, adm, of.name)
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
	case err != nil:
		return nil, fmt.Errorf("look at topic %s: %w", of.name, err)
	case of.state.made(t):
		names = append(names, of.name)
	}
	if beside.topic != nil && of.state.made(beside.topic) {
		names = append(names, beside.topic.name)
	}
	return names, nil
}

// othersWrite reports whether there are streams of another source than ours in a
// log. Ours is the one of the incarnation that the position is of; what has none and
// is called as we are, older versions wrote for definitions of tables.
func (l *Log) othersWrite(beside, state *kept) bool {
	var p positionRecord
	_ = decodeState(state.keys[positionKey], &p, &p.V) // a strange one is nobody's
	sources := map[string]bool{}
	ours := ""
	for key := range beside.keys {
		name, isStream := strings.CutPrefix(key, streamKey)
		at := strings.LastIndexByte(name, '/')
		if !isStream || at < 0 || name == l.sink.transactionalID+"/" {
			continue
		}
		sources[name[:at]] = true
		if p.Incarnation != "" && name[at+1:] == p.Incarnation {
			ours = name[:at]
		}
	}
	delete(sources, ours)
	return len(sources) > 0
}
