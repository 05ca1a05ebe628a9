package nats

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/entrainsync/entrain"
)

// flaw is a limit of a stream under which changes get lost.
type flaw struct {
	status entrain.FindingStatus
	why    string
	edit   string // options of nats stream edit; empty: it cannot be changed
}

// judgeChanges: everything stays until all sinks have it.
func (b *backend) judgeChanges(c jetstream.StreamConfig) []flaw {
	flaws := judgeBoth(c)
	if c.Discard != jetstream.DiscardNew {
		flaws = append(flaws, flaw{entrain.FindingError, "when it is full it removes the oldest messages (discard: old), changes that no sink has read among them; " +
			"with discard: new capture waits", "--discard=new"})
	}
	if c.MaxMsgsPerSubject > 0 {
		flaws = append(flaws, flaw{entrain.FindingError, fmt.Sprintf("it keeps %d messages a subject, and all changes have one subject", c.MaxMsgsPerSubject),
			"--max-msgs-per-subject=-1"})
	}
	if c.MaxMsgSize > 0 && int(c.MaxMsgSize) < messageBytes+headerBytes {
		flaws = append(flaws, flaw{entrain.FindingError, fmt.Sprintf("it takes messages of %d bytes, and ours have up to %d", c.MaxMsgSize, messageBytes+headerBytes),
			"--max-msg-size=-1"})
	}
	return append(flaws, b.judgeReplicas(c)...)
}

// judgeValues: the last value of each key stays.
func judgeValues(c jetstream.StreamConfig) []flaw {
	flaws := judgeBoth(c)
	if c.Discard != jetstream.DiscardNew && (c.MaxBytes > 0 || c.MaxMsgs > 0) {
		flaws = append(flaws, flaw{entrain.FindingError, "when it is full it removes the oldest values: positions and what the capture remembers",
			"--max-bytes=-1 --max-msgs=-1"})
	}
	return flaws
}

// judgeBoth is what no stream of ours may have.
func judgeBoth(c jetstream.StreamConfig) []flaw {
	var flaws []flaw
	if c.MaxAge > 0 {
		flaws = append(flaws, flaw{entrain.FindingError, "it removes messages after " + c.MaxAge.Round(time.Second).String() + ", read or not", "--max-age=-1"})
	}
	if c.Storage != jetstream.FileStorage {
		flaws = append(flaws, flaw{entrain.FindingError, "it is in the server's memory and gone when that ends: entrain teardown FILE, then it is made anew", ""})
	}
	if c.DenyPurge || c.DenyDelete || c.Sealed {
		flaws = append(flaws, flaw{entrain.FindingError, "messages may not be removed from it (deny_purge, deny_delete, sealed), nor may that be changed: entrain teardown FILE, " +
			"then it is made anew", ""})
	}
	if c.Mirror != nil || len(c.Sources) > 0 {
		flaws = append(flaws, flaw{entrain.FindingError, "it takes messages of other streams (mirror, sources), which are none of ours: entrain teardown FILE, then it is made anew", ""})
	}
	if c.NoAck {
		flaws = append(flaws, flaw{entrain.FindingError, "it acknowledges nothing (no_ack), so that nobody knows what is stored", "--ack"})
	}
	if c.Retention != jetstream.LimitsPolicy {
		flaws = append(flaws, flaw{entrain.FindingError, "it removes what one consumer has acknowledged, or what none waits for (retention): " +
			"entrain teardown FILE, then it is made anew", ""})
	}
	return flaws
}

// batched says whether a server takes several messages as one.
type batched bool

// judgeSink is what a sink's stream may not have.
func (s *Sink) judgeSink(c jetstream.StreamConfig, can batched) []flaw {
	var flaws []flaw
	add := func(status entrain.FindingStatus, why, edit string) { flaws = append(flaws, flaw{status, why, edit}) }
	if c.Storage != jetstream.FileStorage {
		add(entrain.FindingError, "it is in the server's memory and gone when that ends, the position with it: set another stream in FILE, or make it anew", "")
	}
	if c.Retention == jetstream.InterestPolicy {
		add(entrain.FindingError, "it keeps what a consumer waits for only (retention: interest), and nobody waits for the position: set another stream in FILE, or make it anew", "")
	}
	if c.DenyPurge || c.Sealed {
		add(entrain.FindingError, "older positions may not be removed from it (deny_purge, sealed), nor may that be changed: set another stream in FILE", "")
	}
	if c.Mirror != nil {
		add(entrain.FindingError, "it is the copy of another stream (mirror), and takes no messages: set another stream in FILE", "")
	}
	if c.NoAck {
		add(entrain.FindingError, "it acknowledges nothing (no_ack), so that nobody knows what is stored", "--ack")
	}
	if c.MaxMsgSize > 0 {
		add(entrain.FindingWarning, fmt.Sprintf("it takes messages of %d bytes, and a larger row is refused", c.MaxMsgSize), "--max-msg-size=-1")
	}
	if c.MaxMsgsPerSubject > 0 {
		add(entrain.FindingWarning, fmt.Sprintf("it keeps %d messages a subject, those of a table that is: who is further behind misses changes", c.MaxMsgsPerSubject),
			"--max-msgs-per-subject=-1")
	}
	if c.Discard == jetstream.DiscardNew && (s.backend.maxBytes > 0 || c.MaxMsgs > 0) {
		add(entrain.FindingWarning, "when it is full it takes nothing more (discard: new), and delivery waits until somebody removes messages; with discard: old the oldest go", "--discard=old")
	}
	if !can && c.Duplicates < rememberedFor {
		add(entrain.FindingWarning, fmt.Sprintf("the server remembers for %s what it has, and without batches some changes come twice if it takes longer to begin again after a crash",
			c.Duplicates.Round(time.Second)), "--dupe-window="+rememberedFor.String())
	}
	return append(flaws, s.backend.judgeReplicas(c)...)
}

// rememberedFor is for how long a server that has no batches should know what it was
// sent: its own default.
const rememberedFor = 2 * time.Minute

// judgeReplicas compares what counts when a stream is made with what it was made with.
func (b *backend) judgeReplicas(c jetstream.StreamConfig) []flaw {
	if c.Replicas >= b.replicas {
		return nil
	}
	return []flaw{{entrain.FindingWarning, fmt.Sprintf("its messages are on %d servers and replicas is %d in the file, which counts when it is made",
		c.Replicas, b.replicas), fmt.Sprintf("--replicas=%d", b.replicas)}}
}
