package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/kafkaserver"
	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
)

// TestOwnBroker is what needs a broker of its own: its rules, its death, its
// clocks.
func TestOwnBroker(t *testing.T) {
	srv := kafkatest.StartOwn(t, kafkaserver.Config{Settings: map[string]string{
		"authorizer.class.name":                                       "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
		"allow.everyone.if.no.acl.found":                              "true",
		"transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
		"transaction.max.timeout.ms":                                  "600000",
	}})
	t.Run("denied topic", func(t *testing.T) { deniedTopic(t, srv.Addr()) })
	t.Run("denied producer", func(t *testing.T) { deniedProducer(t, srv.Addr()) })
	t.Run("time-out", func(t *testing.T) { timedOut(t, srv.Addr()) })
	t.Run("away", func(t *testing.T) { brokerAway(t, srv) })
	t.Run("killed", func(t *testing.T) { brokerKilled(t, srv) })
}

// short is a time-out that the broker allows.
func short(c *SinkConfig) { c.TransactionTimeout = 10 * time.Minute }

// othersOnly gives a right to somebody else: then nobody has it who has no rule.
func othersOnly(t *testing.T, address string, rule *kadm.ACLBuilder) {
	t.Helper()
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateACLs(ctx, rule.Allow("User:somebody").AllowHosts("*").Operations(kadm.OpAll).ResourcePatternType(kadm.ACLPatternLiteral))
		return err
	})
}

// obey does what a command of kafka-acls.sh says.
func obey(t *testing.T, address, command string) {
	t.Helper()
	if !strings.HasPrefix(command, "kafka-acls.sh --bootstrap-server "+address+" --add --allow-principal 'User:ANONYMOUS' ") {
		t.Fatalf("the command is %s", command)
	}
	rule := kadm.NewACLs().Allow("User:ANONYMOUS").AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral)
	var operations []kadm.ACLOperation
	for _, m := range regexp.MustCompile(`--(operation|topic|transactional-id) (\S+)`).FindAllStringSubmatch(command, -1) {
		switch m[1] {
		case "topic":
			rule.Topics(m[2])
		case "transactional-id":
			rule.TransactionalIDs(m[2])
		default:
			var op kadm.ACLOperation
			if err := op.UnmarshalText([]byte(m[2])); err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			operations = append(operations, op)
		}
	}
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		done, err := adm.CreateACLs(ctx, rule.Operations(operations...))
		for _, one := range done {
			if one.Err != nil {
				return one.Err
			}
		}
		return err
	})
	pgtest.Eventually(t, time.Minute, "the broker knows the rule", func() bool {
		known := 0
		admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
			found, err := adm.DescribeACLs(ctx, rule)
			for _, one := range found {
				known += len(one.Described)
			}
			return err
		})
		return known >= len(operations)
	})
}

// deniedTopic: the command of the stop is enough.
func deniedTopic(t *testing.T, address string) {
	id := unique()
	sink := newTestSink(t, address, id, short)
	w, _ := open(t, sink)
	write(t, w, batchOf(1, row("1")))
	othersOnly(t, address, kadm.NewACLs().Topics(id+".public.conformance"))
	stop := wantStop(t, w.Write(t.Context(), batchOf(2, row("2"))), "kafka_denied")
	w.Close()
	obey(t, address, stop.Next)
	w, at := open(t, sink)
	if at.Offset != "1" {
		t.Errorf("the position is %v, want 1", at)
	}
	write(t, w, batchOf(2, row("2")))
}

func deniedProducer(t *testing.T, address string) {
	id := unique()
	othersOnly(t, address, kadm.NewACLs().TransactionalIDs(id))
	sink := newTestSink(t, address, id, short)
	w, err := sink.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.(entrain.Positioner).Position(t.Context())
	w.Close()
	stop := wantStop(t, err, "kafka_denied")
	if !strings.Contains(stop.What, id) {
		t.Errorf("the stop does not name the producer: %s", stop.What)
	}
	obey(t, address, stop.Next)
	w, _ = open(t, sink)
	write(t, w, batchOf(1, row("1")))
}

// timedOut: a transaction that takes too long is a stop that says what to set, and
// has no effect; so is a time-out that the brokers do not allow.
func timedOut(t *testing.T, address string) {
	id := unique()
	w, err := newTestSink(t, address, id, nil).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.(entrain.Positioner).Position(t.Context())
	w.Close()
	wantStop(t, err, "transaction_timeout")

	w, _ = open(t, newTestSink(t, address, id, func(c *SinkConfig) { c.TransactionTimeout = time.Second }))
	write(t, w, part(batchOf(1, row("1"))))
	admin(t, address, func(ctx context.Context, adm *kadm.Client) error {
		for {
			list, err := adm.DescribeTransactions(ctx, id)
			if err != nil || list[id].State == "CompleteAbort" {
				return err
			}
		}
	})
	stop := wantStop(t, w.Write(t.Context(), batchOf(1, row("2"))), "transaction_timeout")
	if !strings.Contains(stop.What, "longer than 1s") || !strings.Contains(stop.Next, "transaction.max.timeout.ms") {
		t.Errorf("the stop is %v", stop)
	}
	w.Close()
	w, at := open(t, newTestSink(t, address, id, short))
	if !at.IsZero() {
		t.Errorf("the position is %v, want none", at)
	}
	write(t, w, batchOf(1, row("1"), row("2")))
	settle(t, address, id)
	if got := records(t, address, id+".public.conformance"); len(got) != 2 {
		t.Errorf("the topic has\n%s", show(got))
	}
}

// brokerAway: brokers that confirm nothing are told of soon, and once; so is that they
// do again, also where the session was given up meanwhile.
func brokerAway(t *testing.T, srv *kafkaserver.Server) {
	id := unique()
	sink := newTestSink(t, srv.Addr(), id, short)
	said := make(chan string, 100)
	sink.outage.log = slog.New(slog.NewTextHandler(lines(said), nil))
	w, _ := open(t, sink)
	write(t, w, batchOf(1, row("1")))
	if err := srv.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() { told <- w.Write(t.Context(), batchOf(2, row("2"))) }()
	select {
	case text := <-said:
		if !strings.Contains(text, "WARN") || !strings.Contains(text, "confirm nothing") || !strings.Contains(text, srv.Addr()) {
			t.Errorf("it is told %s", text)
		}
	case <-time.After(silence + 10*time.Second):
		t.Error("nothing is told")
	}
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err != nil {
		w.Close()
		w, _ = open(t, sink)
	}
	write(t, w, batchOf(3, row("3")))
	if text := <-said; !strings.Contains(text, "INFO") || !strings.Contains(text, "confirm what is written again") || !strings.Contains(text, "away=") {
		t.Errorf("it is told %s", text)
	}
	if len(said) > 0 {
		t.Errorf("and then %s", <-said)
	}
}

// lines are what a log says, one a line.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// brokerKilled: a broker that dies in a transaction and comes back loses nothing
// and doubles nothing, whatever the writer was told (P1, P2).
func brokerKilled(t *testing.T, srv *kafkaserver.Server) {
	id := unique()
	sink := newTestSink(t, srv.Addr(), id, short)
	w, _ := open(t, sink)
	write(t, w, batchOf(1, row("1")), part(batchOf(2, row("2"))))
	if err := srv.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() { told <- w.Write(t.Context(), batchOf(2, row("3"))) }()
	if err := srv.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := <-told
	if err != nil && !entrain.IsRetryable(err) {
		t.Errorf("the writer was told %v, which no retry follows", err)
	}
	w.Close()
	w, at := open(t, sink)
	if err == nil && at.Offset != "2" || err != nil && at.Offset != "1" && at.Offset != "2" {
		t.Errorf("told %v, the position is %v", err, at)
	}
	if at.Offset == "1" {
		write(t, w, batchOf(2, row("2"), row("3")))
	}
	settle(t, srv.Addr(), id)
	var keys []string
	for _, r := range records(t, srv.Addr(), id+".public.conformance") {
		keys = append(keys, string(r.Key))
	}
	if fmt.Sprint(keys) != `[{"id":1} {"id":2} {"id":3}]` {
		t.Errorf("the topic has %v (told %v)", keys, err)
	}
}

// TestGuarantees: what is promised follows from the configuration.
func TestGuarantees(t *testing.T) {
	no := false
	for want, set := range map[string]func(*SinkConfig){
		"P1 P2 P3 (":    nil,
		"P1 P2 P3 P4":   func(c *SinkConfig) { c.Topic, c.Partitions = "all", 1 },
		"P1 P3 (":       func(c *SinkConfig) { c.ExactlyOnce = &no },
		"P1 P2 P3 (a t": func(c *SinkConfig) { c.Format, c.Partitions, c.Topic = "debezium", 1, "" },
	} {
		if got := newTestSink(t, "localhost:1", "x", set).Guarantees().String(); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for partitions, want := range map[int]string{1: "P1 P2 P3 P4", 2: "P1 P2 P3 ("} {
		l := newTestLog(t, "localhost:1", "x", func(c *LogConfig) { c.Partitions = partitions })
		if got := l.Guarantees().String(); !strings.HasPrefix(got, want) {
			t.Errorf("%d partitions: got %s, want %s", partitions, got, want)
		}
	}
}
