package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// metadataPause is how often it is asked whether a topic is known by now.
const metadataPause = 50 * time.Millisecond

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failure makes of an error what the engine can act on: a stop, one that a new
// session may not meet again, or the error as it is.
func (s *server) failure(err error) error {
	var stop *entrain.Stop
	var batch *entrain.BatchError
	switch {
	case err == nil, errors.As(err, &stop), errors.As(err, &batch), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.UnsupportedSaslMechanism), errors.Is(err, kerr.IllegalSaslState):
		return s.stopLogin(err)
	case denied(err) != "":
		return s.stopDenied(err, "")
	case s.insecure(err) != nil:
		return s.insecure(err)
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		return stopTimeoutLimit(err)
	case errors.Is(err, kgo.ErrMaxDecompress):
		return s.stopUnpacked(err)
	}
	return s.passing(err)
}

// passing marks what a new session may not meet again.
func (s *server) passing(err error) error {
	var dial *net.OpError
	var first *kgo.ErrFirstReadEOF // also of a broker that is about to end
	if errors.As(err, &dial) || errors.As(err, &first) || errors.Is(err, errSilent) || kgo.IsRetryableBrokerErr(err) {
		return fmt.Errorf("brokers %s: %w: %w", strings.Join(s.brokers, ","), entrain.ErrDisconnected, err)
	}
	for _, known := range passingErrors {
		if errors.Is(err, known) {
			return entrain.Retryable(err)
		}
	}
	if kerr.IsRetriable(err) {
		return entrain.Retryable(err)
	}
	return err
}

// passingErrors are those that a new producer does not meet, besides what the
// protocol calls retriable: it was forgotten, or a transaction's outcome is not
// known, which the position tells.
var passingErrors = []error{
	kgo.ErrRecordTimeout, kgo.ErrRecordRetries, kgo.ErrClientClosed, context.DeadlineExceeded,
	kerr.InvalidProducerIDMapping, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber, kerr.InvalidTxnState,
	kerr.TransactionAbortable, kerr.OperationNotAttempted, kerr.UnknownServerError, kerr.ConcurrentTransactions,
}

// denied names the kind of resource that a right is missing for; empty if the
// error is another one.
func denied(err error) string {
	switch {
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return "topic"
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return "cluster"
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return "transactional-id"
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return "group"
	}
	return ""
}

// bootstrap is the option of Kafka's tools that names the brokers.
func (s *server) bootstrap() string { return "--bootstrap-server " + strings.Join(s.brokers, ",") }

// principal is who the brokers take us for.
func (s *server) principal() string {
	if s.sasl != nil {
		return "User:" + s.sasl.User
	}
	if s.tls != nil && s.tls.CertFile != "" {
		if cert, err := tls.LoadX509KeyPair(s.tls.CertFile, s.tls.KeyFile); err == nil && cert.Leaf != nil {
			return "User:" + cert.Leaf.Subject.String()
		}
	}
	return "User:ANONYMOUS"
}

func (s *server) stopLogin(err error) error {
	return &entrain.Stop{
		Code: "kafka_login",
		What: fmt.Sprintf("the brokers %s refuse the login of %s", strings.Join(s.brokers, ","), s.principal()),
		Why:  "the password is wrong, or the user has no credentials for this mechanism",
		Next: "correct sasl in FILE; for SCRAM a password is set by: kafka-configs.sh " + s.bootstrap() +
			" --alter --add-config 'SCRAM-SHA-512=[password=PASSWORD]' --entity-type users --entity-name " + quote(strings.TrimPrefix(s.principal(), "User:")),
		Err: err,
	}
}

// stopDenied names the right that is missing. A name that is empty stands for
// every resource of that kind.
func (s *server) stopDenied(err error, name string) error {
	kind := denied(err)
	pattern, rights := quote(name), map[string]string{
		"topic":            "--operation Write --operation Read --operation Describe --operation Create --operation DescribeConfigs",
		"transactional-id": "--operation Write --operation Describe",
		"group":            "--operation Read --operation Describe",
		"cluster":          "--operation IdempotentWrite",
	}
	if name == "" {
		pattern = "'*'"
	}
	resource := "--" + kind + " " + pattern
	if kind == "cluster" {
		resource = "--cluster"
	}
	return &entrain.Stop{
		Code: "kafka_denied",
		What: fmt.Sprintf("%s may not use the %s %s of the brokers %s", s.principal(), kind, pattern, strings.Join(s.brokers, ",")),
		Why:  "an access rule is missing there",
		Next: fmt.Sprintf("kafka-acls.sh %s --add --allow-principal %s %s %s", s.bootstrap(), quote(s.principal()), rights[kind], resource),
		Err:  err,
	}
}

func stopTimeoutLimit(err error) error {
	return &entrain.Stop{
		Code: "transaction_timeout",
		What: "the brokers do not let a transaction take as long as transaction_timeout says",
		Why:  "it is more than their transaction.max.timeout.ms",
		Next: "set a smaller transaction_timeout in FILE, or a larger transaction.max.timeout.ms at the brokers; then: entrain run FILE",
		Err:  err,
	}
}

// stopTimedOut is for a transaction that the brokers ended.
func (p *production) stopTimedOut(err error) error {
	return &entrain.Stop{
		Code: "transaction_timeout",
		What: fmt.Sprintf("the brokers ended a transaction of %s that took longer than %v", p.transactionalID, p.transactionTimout),
		Why:  "a transaction of the source is one of Kafka's; this one was too large to be written in that time. Nothing of it is visible",
		Next: "set transaction.max.timeout.ms at the brokers, and transaction_timeout in FILE, to more; then: entrain run FILE",
		Err:  err,
	}
}

func (p *production) stopFenced(err error) error {
	return &entrain.Stop{
		Code: "fenced",
		What: fmt.Sprintf("another session took the producer %s over", p.transactionalID),
		Why:  "going on could write changes twice; two processes must not run one pipeline",
		Next: "end the other process, or give one of the pipelines a transactional_id of its own; then: entrain run FILE",
		Err:  err,
	}
}

func (s *server) stopTopicMissing(w wanted) error {
	return &entrain.Stop{
		Code: "topic_missing",
		What: fmt.Sprintf("the topic %s does not exist", w.name),
		Why:  "create is false in FILE, so that topics are made by people",
		Next: s.createCommand(w),
	}
}

// createCommand makes a topic by hand.
func (s *server) createCommand(w wanted) string {
	cmd := fmt.Sprintf("kafka-topics.sh %s --create --topic %s --partitions %d", s.bootstrap(), quote(w.name), max(1, w.partitions))
	if w.replication > 0 {
		cmd += fmt.Sprintf(" --replication-factor %d", w.replication)
	}
	keys := make([]string, 0, len(w.configs))
	for k := range w.configs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		cmd += fmt.Sprintf(" --config %s=%s", k, *w.configs[k])
	}
	return cmd
}

func (s *server) stopPartitions(w wanted, t *topic) error {
	stop := &entrain.Stop{
		Code: "topic_partitions",
		What: fmt.Sprintf("the topic %s has %d partitions, and FILE wants %d", t.name, t.partitions, w.partitions),
		Why:  "the partition of a key follows from their number",
		Next: fmt.Sprintf("set partitions in FILE to %d; entrain run FILE", t.partitions),
	}
	if t.partitions < w.partitions {
		stop.Next = fmt.Sprintf("kafka-topics.sh %s --alter --topic %s --partitions %d; or %s", s.bootstrap(), quote(t.name), w.partitions, stop.Next)
		stop.Why += "; when it grows, the changes of one key are in two partitions, without an order between them"
	}
	return stop
}

func (s *server) stopTopicRefused(w wanted, err error) error {
	return &entrain.Stop{
		Code: "topic_refused",
		What: fmt.Sprintf("the brokers refuse to make the topic %s", w.name),
		Why:  "partitions, replication_factor or retention do not suit them",
		Next: "correct them in FILE, or make it by hand: " + s.createCommand(w),
		Err:  err,
	}
}

// stopRecreated is for a topic that is not the one that events were written to.
func (p *production) stopRecreated(name, state string) *entrain.Stop {
	return &entrain.Stop{
		Code: "topic_recreated",
		What: fmt.Sprintf("the topic %s is another one than events were written to", name),
		Why:  "it was deleted by something other than entrain; events that were confirmed to the source were in it",
		Next: fmt.Sprintf("if what was in it is not needed, forget it: echo %s | kafka-console-producer.sh %s --topic %s --property parse.key=true "+
			"--property 'key.separator=|' --property null.marker=NULL; then: entrain run FILE",
			quote(topicKey+name+"|NULL"), p.bootstrap(), quote(state)),
	}
}

// stopRepartitioned is for a topic that has more partitions than it had when
// events were written to it.
func (p *production) stopRepartitioned(t *topic, before int32, state string) error {
	return &entrain.Stop{
		Code: "topic_repartitioned",
		What: fmt.Sprintf("the topic %s has %d partitions, and had %d when events were written to it", t.name, t.partitions, before),
		Why:  "the changes of a key go to another partition from now on: who has not read the old ones yet could take them for newer",
		Next: fmt.Sprintf("wait until all that read the topic are at its end (LAG 0): kafka-consumer-groups.sh %[1]s --describe --all-groups; then forget the number: "+
			"echo %[2]s | kafka-console-producer.sh %[1]s --topic %[3]s --property parse.key=true --property 'key.separator=|' --property null.marker=NULL; "+
			"then: entrain run FILE", p.bootstrap(), quote(topicKey+t.name+"|NULL"), quote(state)),
	}
}

// stopTopicGone is for a topic that events were written to.
func (p *production) stopTopicGone(name, state string) error {
	stop := p.stopRecreated(name, state)
	stop.What = fmt.Sprintf("the topic %s, to which events were written, is gone", name)
	return stop
}

// stopTooLarge names a record that the brokers do not take.
func (w *writer) stopTooLarge(r *kgo.Record, err error) error {
	id, op := "of the state", entrain.Op(0)
	for _, h := range r.Headers {
		switch h.Key {
		case headerID:
			id = string(h.Value)
		case headerOp:
			op = entrain.Op(max(0, slices.IndexFunc(opTexts[:], func(text []byte) bool { return bytes.Equal(text, h.Value) })))
		}
	}
	if op != 0 { // it can become a dead letter
		err = &entrain.BatchError{Failed: []entrain.FailedEvent{{ID: id, Table: r.Topic, Op: op, Err: err}}}
	}
	size := len(r.Key) + len(r.Value)
	want := 1 << 20
	for want < size+size/8+1024 {
		want *= 2
	}
	return &entrain.Stop{
		Code: "message_too_large",
		What: fmt.Sprintf("a record for the topic %s with the key %s has %d bytes (event %s, after position %s), and a batch takes %d",
			r.Topic, shorten(r.Key), size, id, w.through, w.maxMessage),
		Why: "max_message_bytes in FILE, or max.message.bytes of the topic, is less than that",
		Next: fmt.Sprintf("kafka-configs.sh %s --alter --entity-type topics --entity-name %s --add-config max.message.bytes=%d; "+
			"set max_message_bytes: %d in FILE; entrain run FILE", w.bootstrap(), quote(r.Topic), want, want),
		Data: true,
		Err:  err,
	}
}

// shorten returns a key for people.
func shorten(key []byte) string {
	const most = 200
	if key == nil {
		return "null"
	}
	if len(key) > most {
		return string(key[:most]) + "…"
	}
	return string(key)
}

func stopTopicName(name string) error {
	return &entrain.Stop{
		Code: "topic_name",
		What: fmt.Sprintf("the topic's name %s has %d characters, and %d is the most", name, len(name), topicLimit),
		Why:  "the names of source, schema and table are in it",
		Next: `set a topic in FILE that is shorter, for example topic: "{table}"; entrain run FILE`,
		Data: true,
	}
}

// stopPartialMove is for a key that changed while the log did not carry the
// whole row.
func (w *writer) stopPartialMove(e *entrain.Event, topic string) error {
	return &entrain.Stop{
		Code: "key_change_incomplete",
		What: fmt.Sprintf("the key of a row of %s changed (event %s), and the log did not carry all its columns", e.Table, e.ID()),
		Why: fmt.Sprintf("the row moves to another partition of the topic %s, where the values that it kept are not known; "+
			"with REPLICA IDENTITY FULL all changes of the table are in one partition, and their order is enough", topic),
		Next: fmt.Sprintf("use topics of one partition for it; or leave the table out and copy it anew after: ALTER TABLE %s.%s REPLICA IDENTITY FULL",
			ident(e.Table.Schema), ident(e.Table.Name)),
		Data:  true,
		Table: e.Table,
	}
}

// stopDividedTruncate is for a truncate of rows that are spread over partitions.
func (p *production) stopDividedTruncate(e *entrain.Event, table *entrain.Table, in *topic) error {
	name := table.Schema + "." + table.Name
	return &entrain.Stop{
		Code: "truncate_divided",
		What: fmt.Sprintf("table %s was truncated (event %s), and its rows are spread over the %d partitions of the topic %s", table, e.ID(), in.partitions, in.name),
		Why:  "each partition is delivered by itself: a truncate would take away rows that came after it through another one",
		Next: fmt.Sprintf("leave the table out of this pipeline: add %q to source.tables.exclude in FILE; then: entrain capture FILE. "+
			"A stream with partitions: 1 takes truncates, and so does a table with REPLICA IDENTITY FULL", name),
		Data:  true,
		Table: table,
	}
}

// stopDivided is for what happens to all rows of a table at once.
func (l *Log) stopDivided(partitions int) error {
	return &entrain.Stop{
		Code: "stream_divided",
		What: fmt.Sprintf("the topic %s has %d partitions, and each is delivered by itself", l.name, partitions),
		Why:  "a table that is read anew takes the old one's place at one moment, which several partitions do not have",
		Next: "entrain snapshot start FILE --table SCHEMA.TABLE   # delivers the rows once more, in place; a stream with partitions: 1 takes resync and pause",
	}
}

// ident quotes a name of SQL.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quote returns s as one word for the shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
