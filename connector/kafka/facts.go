package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// use is what a topic is to us.
type use int

const (
	usedEvents use = iota // of a sink: others read it, and may want it compacted
	usedStream
	usedState
	usedLetters // dead letters of several pipelines
)

// section is the part of the pipeline file that is about the topic.
func (u use) section() string {
	if u == usedStream {
		return "stream"
	}
	return "sink"
}

// compacted reports whether the topic is to keep the last record of each key, for
// ever.
func (u use) compacted() bool { return u == usedState || u == usedLetters }

// cleanup is the cleanup.policy that loses nothing.
func (u use) cleanup() string {
	if u.compacted() {
		return "compact"
	}
	return "delete"
}

// question is a topic that is asked for.
type question struct {
	wanted wanted
	use    use
}

// questions are what is asked of the brokers.
type questions struct {
	topics    []question
	producers []string // transactional ids
	groups    []string
	log       string // the topic of a log; empty of a sink
}

// facts are the answers.
type facts struct {
	brokers int
	topics  []topicFacts // in the order of the questions
	// longest is transaction.max.timeout.ms; 0 if it is not known.
	longest int64
	// producers and groups are those for which a right is missing.
	producers, groups []string
	// before are other topics that a log's events are in.
	before []string
}

// topicFacts is a topic as it is, or what the brokers say to its being made.
type topicFacts struct {
	question
	there      bool
	partitions int32
	// replicas is the least number a partition has, and synced of those in sync.
	replicas, synced int16
	settings         map[string]string // nil if they cannot be seen
	missing          []string          // rights
	refused          error             // why it would not be made
}

// number is a setting; -1 if it has no limit or is not known.
func (t *topicFacts) number(name string) int64 {
	n, err := strconv.ParseInt(t.settings[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// configAsker is the part of [kadm.Client] that tells settings of topics.
type configAsker interface {
	DescribeTopicConfigs(ctx context.Context, topics ...string) (kadm.ResourceConfigs, error)
}

// topicSettings returns those of a topic; nil if they may not be seen or there is
// no such topic. Topics are asked for one by one: one that is denied hides all
// others of a request.
func topicSettings(ctx context.Context, adm configAsker, name string) (map[string]string, error) {
	list, err := adm.DescribeTopicConfigs(ctx, name)
	if denied(err) != "" || errors.Is(err, kerr.UnsupportedVersion) {
		return nil, nil
	}
	if err != nil || len(list) == 0 || list[0].Err != nil {
		return nil, err
	}
	settings := map[string]string{}
	for _, c := range list[0].Configs {
		settings[c.Key] = c.MaybeValue()
	}
	return settings, nil
}

// ask asks what changes nothing, whatever the answer is.
func (p *production) ask(ctx context.Context, q questions) (*facts, error) {
	opts, err := p.options()
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", errSilent, err)
		}
		return nil, err
	}
	adm, f := kadm.NewClient(client), &facts{}
	if err := p.askTopics(ctx, adm, q.topics, f); err != nil {
		return nil, err
	}
	if q.log != "" {
		s, err := p.remembered(ctx, adm)
		if err != nil {
			return nil, err
		}
		f.before = s.writtenTo(q.log)
	}
	f.longest = longestTransaction(ctx, adm)
	for _, id := range q.producers {
		if err := mayProduce(ctx, client, id); denied(err) != "" {
			f.producers = append(f.producers, id)
		} else if err != nil {
			return nil, fmt.Errorf("examine the producer %s: %w", id, err)
		}
	}
	for _, group := range q.groups {
		if err := mayRead(ctx, client, group); denied(err) != "" {
			f.groups = append(f.groups, group)
		} else if err != nil {
			return nil, fmt.Errorf("examine the group %s: %w", group, err)
		}
	}
	return f, nil
}

func (p *production) askTopics(ctx context.Context, adm *kadm.Client, list []question, f *facts) error {
	for _, q := range list {
		t := topicFacts{question: q}
		meta, err := adm.Metadata(kadm.WithAuthorizedOps(ctx), q.wanted.name)
		switch {
		case denied(err) != "":
			t.missing = []string{"Describe", "Write", "Read", "Create"}
		case err != nil:
			return fmt.Errorf("look at topic %s: %w", q.wanted.name, err)
		default:
			f.brokers = len(meta.Brokers)
			if err := t.see(meta.Topics[q.wanted.name]); err != nil {
				return fmt.Errorf("look at topic %s: %w", q.wanted.name, err)
			}
		}
		if t.there {
			t.settings, err = topicSettings(ctx, adm, q.wanted.name)
			if err != nil {
				return fmt.Errorf("look at the settings of topic %s: %w", q.wanted.name, err)
			}
		} else if len(t.missing) == 0 && p.create {
			t.refused = validate(ctx, adm, q.wanted)
		}
		f.topics = append(f.topics, t)
	}
	return nil
}

// see takes what the brokers say of a topic.
func (t *topicFacts) see(d kadm.TopicDetail) error {
	needs := []kadm.ACLOperation{kmsg.ACLOperationWrite, kmsg.ACLOperationRead}
	if t.use == usedEvents {
		needs = needs[:1]
	}
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition), d.Topic == "":
		return nil
	case d.Err != nil:
		return d.Err
	}
	t.there, t.partitions, t.replicas, t.synced = true, int32(len(d.Partitions)), math.MaxInt16, math.MaxInt16
	for _, part := range d.Partitions {
		t.replicas = min(t.replicas, int16(len(part.Replicas)))
		t.synced = min(t.synced, int16(len(part.ISR)))
	}
	for _, need := range needs {
		if len(d.AuthorizedOperations) > 0 && !slices.Contains(d.AuthorizedOperations, need) {
			t.missing = append(t.missing, rightNames[need])
		}
	}
	return nil
}

var rightNames = map[kadm.ACLOperation]string{kmsg.ACLOperationWrite: "Write", kmsg.ACLOperationRead: "Read"}

// validate asks the brokers whether they would make a topic.
func validate(ctx context.Context, adm *kadm.Client, w wanted) error {
	replication := w.replication
	if replication == 0 {
		replication = -1
	}
	made, err := adm.ValidateCreateTopics(ctx, max(1, w.partitions), replication, w.configs, w.name)
	if err == nil {
		err = made[w.name].Err
	}
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

// longestTransaction is what the brokers allow; 0 if we may not know.
func longestTransaction(ctx context.Context, adm *kadm.Client) int64 {
	meta, err := adm.BrokerMetadata(ctx)
	if err != nil || len(meta.Brokers) == 0 {
		return 0
	}
	list, err := adm.DescribeBrokerConfigs(ctx, meta.Brokers[0].NodeID)
	if err != nil {
		return 0
	}
	for _, r := range list {
		for _, c := range r.Configs {
			if n, err := strconv.ParseInt(c.MaybeValue(), 10, 64); err == nil && c.Key == "transaction.max.timeout.ms" {
				return n
			}
		}
	}
	return 0
}

// nobody is a producer's number that no broker gives away.
const nobody = math.MaxInt64

// mayProduce asks to end a transaction of a producer that is not there: the brokers
// look at the rights first.
func mayProduce(ctx context.Context, client *kgo.Client, id string) error {
	req := kmsg.NewPtrEndTxnRequest()
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = id, nobody, 0
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if denied(err) == "" && isKafka(err) {
		return nil
	}
	return err
}

// mayRead says for a member that is not there that it lives.
func mayRead(ctx context.Context, client *kgo.Client, group string) error {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation = group, "entrain-check", 0
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if denied(err) == "" && isKafka(err) {
		return nil
	}
	return err
}

// isKafka reports whether brokers answered with the error.
func isKafka(err error) bool {
	var told *kerr.Error
	return errors.As(err, &told)
}
