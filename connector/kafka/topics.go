package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// topic is one that records go to. Its number of partitions stays what it was
// when the session met it, so that a key does not move in its middle.
type topic struct {
	name       string
	partitions int32
	id         kadm.TopicID
}

// wanted is what a topic is made with.
type wanted struct {
	name        string
	partitions  int32 // 0: any
	replication int16
	configs     map[string]*string
	ours        bool // nobody else has a use for it: that we made it is noted
}

// events is what a topic of events is made with.
func (p *production) events(name string) wanted {
	w := wanted{name: name, partitions: int32(p.partitions), replication: int16(p.replication), configs: map[string]*string{}, ours: p.uncompacted}
	if p.uncompacted { // of a key only the last change would stay
		w.configs["cleanup.policy"] = text("delete")
	}
	if p.retention > 0 {
		w.configs["retention.ms"] = text(strconv.FormatInt(p.retention.Milliseconds(), 10))
	}
	if p.maxMessage > defaultMessage {
		w.configs["max.message.bytes"] = text(strconv.Itoa(int(p.maxMessage)))
	}
	return w
}

// compacted is what a topic that keeps the last record of each key is made with.
func (p *production) compacted(name string) wanted {
	return wanted{name: name, partitions: 1, replication: int16(p.replication), ours: true, configs: map[string]*string{
		"cleanup.policy": text("compact"),
	}}
}

func text(s string) *string { return &s }

// ensure returns the topic, which is made if it is missing and create says so.
func (p *production) ensure(ctx context.Context, adm *kadm.Client, w wanted) (*topic, error) {
	t, err := look(ctx, adm, w.name)
	if errors.Is(err, kerr.UnknownTopicOrPartition) {
		if !p.create {
			return nil, p.stopTopicMissing(w)
		}
		made := false
		if made, err = p.make(ctx, adm, w); err != nil {
			return nil, err
		}
		if t, err = p.await(ctx, adm, w); err == nil && made && w.ours {
			err = p.noteMade(ctx, adm, t)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("look at topic %s: %w", w.name, err)
	}
	if w.partitions > 0 && t.partitions != w.partitions {
		return nil, p.stopPartitions(w, t)
	}
	return t, nil
}

// look asks for one topic.
func look(ctx context.Context, adm *kadm.Client, name string) (*topic, error) {
	list, err := adm.ListTopics(ctx, name)
	if err != nil {
		return nil, err
	}
	d, there := list[name]
	switch {
	case !there:
		return nil, kerr.UnknownTopicOrPartition
	case d.Err != nil:
		return nil, d.Err
	case len(d.Partitions) == 0:
		return nil, kerr.LeaderNotAvailable
	}
	return &topic{name: name, partitions: int32(len(d.Partitions)), id: d.ID}, nil
}

// make makes a topic; that another process was faster is no error, but made is
// false then.
func (p *production) make(ctx context.Context, adm *kadm.Client, w wanted) (bool, error) {
	replication := w.replication
	if replication == 0 {
		replication = -1
	}
	answer, err := adm.CreateTopic(ctx, max(1, w.partitions), replication, w.configs, w.name)
	if err == nil {
		err = answer.Err
	}
	if err == nil || errors.Is(err, kerr.TopicAlreadyExists) {
		return err == nil, nil
	}
	if errors.Is(err, kerr.InvalidReplicationFactor) || errors.Is(err, kerr.PolicyViolation) || errors.Is(err, kerr.InvalidConfig) ||
		errors.Is(err, kerr.InvalidTopicException) {
		return false, p.stopTopicRefused(w, err)
	}
	return false, fmt.Errorf("make topic %s: %w", w.name, err)
}

// await waits until a topic that was made is known to the broker that is asked.
func (p *production) await(ctx context.Context, adm *kadm.Client, w wanted) (*topic, error) {
	for {
		t, err := look(ctx, adm, w.name)
		if err == nil || !kerr.IsRetriable(err) {
			return t, err
		}
		if err := pause(ctx, metadataPause); err != nil {
			return nil, err
		}
	}
}
