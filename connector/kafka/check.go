package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/entrainsync/entrain"
)

// The codes of the findings.
const (
	codeTopic       = "kafka_topic"
	codePartitions  = "kafka_partitions"
	codeCleanup     = "kafka_cleanup"
	codeRetention   = "kafka_retention"
	codeReplication = "kafka_replication"
	codeMessages    = "kafka_message_bytes"
	codeTimeout     = "kafka_transaction_timeout"
	codeRights      = "kafka_rights"
)

// judges are all examinations, in the order of the report. What they return is not
// as it should be.
var judges = []struct {
	code  string
	judge func(p *production, f *facts) []entrain.Finding
}{
	{codeTopic, judgeTopic},
	{codePartitions, judgePartitions},
	{codeCleanup, judgeCleanup},
	{codeRetention, judgeRetention},
	{codeReplication, judgeReplication},
	{codeMessages, judgeMessages},
	{codeTimeout, judgeTimeout},
	{codeRights, judgeRights},
}

func codes() []string {
	all := make([]string, len(judges))
	for i, j := range judges {
		all[i] = j.code
	}
	return all
}

// Codes implements [entrain.Checker].
func (l *Log) Codes() []string { return codes() }

// Codes implements [entrain.Checker].
func (s *Sink) Codes() []string { return codes() }

// Check implements [entrain.Checker]. What it tells of a topic that is missing is
// what the brokers say to a request that only validates.
func (l *Log) Check(ctx context.Context, _ *entrain.Report) (entrain.Report, error) {
	s := l.sink
	q := questions{
		topics: []question{
			{wanted: s.events(l.name), use: usedStream},
			{wanted: s.compacted(s.transactionalID + stateSuffix), use: usedState},
			{wanted: s.compacted(l.name + shapesSuffix), use: usedState},
		},
		producers: []string{s.transactionalID, s.transactionalID + valuesSuffix},
		groups:    l.groups(),
		log:       l.name,
	}
	report, f, err := s.examine(ctx, q)
	if err != nil {
		return report, err
	}
	report.Partitions = max(1, s.partitions)
	if t := f.topics[0]; t.there {
		report.Partitions = int(t.partitions)
	}
	return report, nil
}

// Check implements [entrain.Checker]. Topics are examined as far as their names
// are known.
func (s *Sink) Check(ctx context.Context, source *entrain.Report) (entrain.Report, error) {
	q := questions{topics: s.topicsOf(source)}
	if s.exactly {
		q.topics = append(q.topics, question{wanted: s.compacted(s.transactionalID + stateSuffix), use: usedState})
		q.producers = []string{s.transactionalID}
	}
	report, _, err := s.examine(ctx, q)
	return report, err
}

// topicsOf are the topics of events that are known beforehand.
func (s *Sink) topicsOf(source *entrain.Report) []question {
	if source == nil || s.shape.format == "debezium" {
		return nil
	}
	var list []question
	known := map[string]bool{}
	form := &jsonForm{}
	for _, t := range source.Tables {
		if source.Name == "" && strings.Contains(s.shape.topic, "{source}") {
			continue
		}
		name := form.name(s.shape.topic, source.Name, t)
		if !known[name] && len(name) <= topicLimit {
			known[name] = true
			list = append(list, question{wanted: s.events(name), use: usedEvents})
		}
	}
	return list
}

// examine asks the brokers and judges.
func (p *production) examine(ctx context.Context, q questions) (entrain.Report, *facts, error) {
	server := strings.Join(p.brokers, ",")
	report := entrain.Report{Server: "Kafka at " + server, Connect: server}
	f, err := p.ask(ctx, q)
	if err != nil {
		return report, nil, p.unreachable(err)
	}
	for _, j := range judges {
		found := j.judge(p, f)
		if len(found) == 0 {
			found = []entrain.Finding{{Object: report.Server}}
		}
		for _, one := range found {
			one.Code, one.Doc = j.code, "kafka.md#"+j.code
			report.Findings = append(report.Findings, one)
		}
	}
	return report, f, nil
}

// unreachable is why nothing could be examined.
func (p *production) unreachable(err error) error {
	var stop *entrain.Stop
	if err = p.failure(err); errors.As(err, &stop) || !errors.Is(err, entrain.ErrDisconnected) {
		return err
	}
	return &entrain.Unreachable{
		Why:  "the brokers are not running, their names or ports are others, TLS is expected (tls) or not spoken there, or a firewall is in between",
		Next: "kafka-broker-api-versions.sh " + p.bootstrap(),
		Err:  err,
	}
}

func (p *production) fix(commands ...string) []entrain.Fix {
	steps := make([]entrain.Fix, len(commands))
	for i, c := range commands {
		steps[i] = entrain.Fix{Where: "Kafka at " + strings.Join(p.brokers, ",") + ", as an administrator", Shell: c}
	}
	return steps
}

// set is the command that gives a topic a setting.
func (s *server) set(name, setting string) string {
	return fmt.Sprintf("kafka-configs.sh %s --alter --entity-type topics --entity-name %s --add-config %s", s.bootstrap(), quote(name), setting)
}

func judgePartitions(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.topics {
		w := t.wanted.partitions
		if !t.there || w == 0 || t.partitions == w {
			continue
		}
		one := entrain.Finding{Status: entrain.FindingError, Object: "topic " + t.wanted.name,
			Why: fmt.Sprintf("it has %d partitions and the file says %d: the partition of a key follows from their number, so that the pipeline "+
				"stops (topic_partitions)", t.partitions, w)}
		if !t.use.compacted() {
			one.Fix = []entrain.Fix{{Where: "pipeline file", Config: fmt.Sprintf("%s:\n  partitions: %d\n", t.use.section(), t.partitions)}}
		}
		found = append(found, one)
	}
	return found
}

func judgeCleanup(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.topics {
		object := "topic " + t.wanted.name
		if why := t.cleanupWrong(); why != "" {
			found = append(found, entrain.Finding{Status: entrain.FindingError, Object: object, Why: why,
				Fix: p.fix(p.set(t.wanted.name, "cleanup.policy="+t.use.cleanup()))})
		} else if t.there && t.settings == nil {
			found = append(found, entrain.Finding{Status: entrain.FindingWarning, Object: object,
				Why: "its settings cannot be seen, so that compaction, retention and sizes are not examined: the right DescribeConfigs is missing",
				Fix: p.fix(p.grant("topic", t.wanted.name, "DescribeConfigs"))})
		}
	}
	return found
}

// judgeRetention looks at what ends a record's life before a sink has read it.
func judgeRetention(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.topics {
		if t.use.compacted() || t.settings == nil {
			continue
		}
		object := "topic " + t.wanted.name
		if want := p.retention.Milliseconds(); want > 0 && t.number("retention.ms") >= 0 && t.number("retention.ms") < want {
			found = append(found, entrain.Finding{Status: entrain.FindingWarning, Object: object,
				Why: fmt.Sprintf("it keeps records for %d s and the file wants %d s: the file counts when the topic is made. Who is behind for longer has a gap",
					t.number("retention.ms")/1000, want/1000),
				Fix: p.fix(p.set(t.wanted.name, fmt.Sprintf("retention.ms=%d", want)))})
		}
		if size := t.number("retention.bytes"); t.use == usedStream && size >= 0 {
			found = append(found, entrain.Finding{Status: entrain.FindingWarning, Object: object,
				Why: fmt.Sprintf("it keeps no more than %d bytes a partition (retention.bytes): a burst of changes removes what sinks have not read "+
					"yet, and they stop (stream_overrun)", size),
				Fix: p.fix(p.set(t.wanted.name, "retention.bytes=-1"))})
		}
	}
	return found
}

func judgeReplication(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	add := func(status entrain.FindingStatus, t *topicFacts, why string, fix ...entrain.Fix) {
		found = append(found, entrain.Finding{Status: status, Object: "topic " + t.wanted.name, Why: why, Fix: fix})
	}
	for i := range f.topics {
		t := &f.topics[i]
		least := t.number("min.insync.replicas")
		switch {
		case !t.there && t.refused != nil && denied(t.refused) == "":
			add(entrain.FindingError, t, fmt.Sprintf("the brokers would not make it with the file's replication_factor %d, partitions and retention (there are %d brokers): %v",
				t.wanted.replication, f.brokers, t.refused))
		case t.there && least > int64(t.replicas):
			add(entrain.FindingError, t, fmt.Sprintf("it has %d replicas and min.insync.replicas is %d: nothing can ever be written to it with acks=all",
				t.replicas, least), p.fix(p.set(t.wanted.name, fmt.Sprintf("min.insync.replicas=%d", max(1, t.replicas-1))))...)
		case t.there && least > int64(t.synced):
			add(entrain.FindingError, t, fmt.Sprintf("%d of its replicas are in sync now and min.insync.replicas is %d: nothing can be written until more are",
				t.synced, least))
		case t.there && t.wanted.replication > t.replicas:
			add(entrain.FindingWarning, t, fmt.Sprintf("it has %d replicas and the file wants %d, which counts when the topic is made; "+
				"kafka-reassign-partitions.sh adds some", t.replicas, t.wanted.replication))
		}
	}
	return found
}

func judgeMessages(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	for _, t := range f.topics {
		most := t.number("max.message.bytes")
		if t.settings == nil || most < 0 || most >= int64(p.maxMessage) {
			continue
		}
		found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "topic " + t.wanted.name,
			Why: fmt.Sprintf("it takes batches of %d bytes and ours have up to %d (max_message_bytes): a larger one stops the pipeline (message_too_large)",
				most, p.maxMessage),
			Fix: p.fix(p.set(t.wanted.name, fmt.Sprintf("max.message.bytes=%d", p.maxMessage)))})
	}
	return found
}

func judgeTimeout(p *production, f *facts) []entrain.Finding {
	if want := p.transactionTimout.Milliseconds(); p.exactly && f.longest > 0 && want > f.longest {
		return []entrain.Finding{{Status: entrain.FindingError, Object: "Kafka at " + strings.Join(p.brokers, ","),
			Why: fmt.Sprintf("transaction_timeout is %d s and the brokers allow %d s (transaction.max.timeout.ms): they take no producer that asks for more",
				want/1000, f.longest/1000)}}
	}
	return nil
}

func judgeRights(p *production, f *facts) []entrain.Finding {
	var found []entrain.Finding
	lacks := func(kind, name string, rights ...string) {
		found = append(found, entrain.Finding{Status: entrain.FindingError, Object: kind + " " + name,
			Why: fmt.Sprintf("%s may not use it: %s is missing", p.principal(), strings.Join(rights, ", ")),
			Fix: p.fix(p.grant(kind, name, rights...))})
	}
	for _, t := range f.topics {
		missing := t.missing
		if !t.there && denied(t.refused) != "" {
			missing = []string{"Create", "Write", "Read", "Describe"}
		}
		if len(missing) > 0 {
			lacks("topic", t.wanted.name, missing...)
		} else if !t.there && !p.create {
			found = append(found, entrain.Finding{Status: entrain.FindingError, Object: "topic " + t.wanted.name,
				Why: "it does not exist, and create is false in the file", Fix: p.fix(p.createCommand(t.wanted))})
		}
	}
	for _, name := range f.producers {
		lacks("transactional-id", name, "Write", "Describe")
	}
	for _, name := range f.groups {
		lacks("group", name, "Read", "Describe")
	}
	return found
}

// grant is the command that gives rights to who we are.
func (s *server) grant(kind, name string, rights ...string) string {
	return fmt.Sprintf("kafka-acls.sh %s --add --allow-principal %s --operation %s --%s %s",
		s.bootstrap(), quote(s.principal()), strings.Join(rights, " --operation "), kind, quote(name))
}

// cleanupWrong is what would become of the topic's records; empty if nothing that
// must not.
func (t *topicFacts) cleanupWrong() string {
	policy, known := t.settings["cleanup.policy"]
	compacts, deletes := strings.Contains(policy, "compact"), strings.Contains(policy, "delete")
	switch {
	case !known:
		return ""
	case t.use == usedStream && compacts:
		return "it is compacted (cleanup.policy=" + policy + "): of a key only the last change would stay, and what has no key is refused"
	case t.use == usedLetters && (!compacts || deletes):
		return "it is not compacted only (cleanup.policy=" + policy + "): after its retention dead letters are removed, and their changes are lost"
	case t.use == usedState && (!compacts || deletes):
		return "it is not compacted only (cleanup.policy=" + policy + "): after its retention the pipeline's position is removed"
	}
	return ""
}

// suits is a stop for a topic whose settings would lose records, when a session
// begins. Where they may not be seen, or the topic was made just now, they are taken
// to be right.
func (p *production) suits(ctx context.Context, adm configAsker, list ...question) error {
	for _, q := range list {
		settings, err := topicSettings(ctx, adm, q.wanted.name)
		if err != nil {
			return fmt.Errorf("look at the settings of topic %s: %w", q.wanted.name, err)
		}
		t := topicFacts{question: q, settings: settings}
		if why := t.cleanupWrong(); why != "" {
			return &entrain.Stop{
				Code: "topic_cleanup",
				What: fmt.Sprintf("the topic %s cannot be used as it is set", q.wanted.name),
				Why:  why,
				Next: p.set(q.wanted.name, "cleanup.policy="+q.use.cleanup()) + "; entrain run FILE",
			}
		}
	}
	return nil
}
