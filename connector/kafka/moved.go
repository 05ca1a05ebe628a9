package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// topicLook is how often a process that delivers looks whether the capture writes to
// its topic, as long as it has written to none.
const topicLook = 5 * time.Second

// writtenTo are the topics that the events of a log went to, if they are others than the
// one called name; none if no event was written yet. The position's word counts, which
// older versions did not note: of what they wrote any topic is taken for the one.
func (s *state) writtenTo(name string) []string {
	if _, written := s.topics[s.topic]; written {
		return slices.DeleteFunc([]string{s.topic}, func(last string) bool { return last == name })
	}
	if _, written := s.topics[name]; written {
		return nil
	}
	return slices.Sorted(maps.Keys(s.topics))
}

// state reads what a state topic has kept.
func (k *kept) state() (*state, error) {
	s := newState()
	for key, value := range k.keys {
		if err := s.take(&kgo.Record{Topic: k.topic.name, Key: []byte(key), Value: value}); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// remembered reads the state topic without taking the producer over. It is empty if
// there is none, or no right to read it, which who only delivers does not need.
func (p *production) remembered(ctx context.Context, adm *kadm.Client) (*state, error) {
	for {
		k, err := p.recall(ctx, adm, p.transactionalID+stateSuffix)
		switch {
		case err == nil:
			return k.state()
		case denied(err) != "":
			return newState(), nil
		case !kerr.IsRetriable(err):
			return nil, err
		}
		if err := pause(ctx, metadataPause); err != nil { // it is being made
			return nil, err
		}
	}
}

// unmoved is a stop if the events of the pipeline are in another topic than the file
// says. It is asked before anything is made: a topic that a slip of the pen made looks
// like a stream in which nothing happens.
func (l *Log) unmoved(ctx context.Context, adm *kadm.Client) error {
	if l.isSettled() {
		return nil
	}
	s, err := l.sink.remembered(ctx, adm)
	if err != nil {
		return err
	}
	return l.stays(s)
}

// stays judges a state. That events are in this topic is noted: from then on only
// somebody else's slip can lead elsewhere, and that one is stopped.
func (l *Log) stays(s *state) error {
	if before := s.writtenTo(l.name); len(before) > 0 {
		return l.stopMoved(s, before)
	}
	if _, written := s.topics[l.name]; written {
		l.mu.Lock()
		l.settled = true
		l.mu.Unlock()
	}
	return nil
}

func (l *Log) isSettled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled
}

// poll waits until the group has something to tell, and looks meanwhile whether the
// topic is still the right one.
func (l *Log) poll(ctx context.Context, client *kgo.Client) error {
	within := ctx
	if !l.isSettled() {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, topicLook)
		defer cancel()
	}
	fetches := client.PollFetches(within)
	if ctx.Err() != nil {
		return nil
	}
	if within.Err() == nil {
		return fetchError(ctx, fetches)
	}
	err := l.admin(ctx, func(ctx context.Context, _ *kgo.Client, adm *kadm.Client) error { return l.unmoved(ctx, adm) })
	var stop *entrain.Stop
	if errors.As(err, &stop) {
		return err
	}
	return nil // who cannot be asked now is asked again
}

// stopMoved is for a file that names another topic than the one that has the events.
func (l *Log) stopMoved(s *state, before []string) error {
	old := strings.Join(before, ", ")
	through := ""
	if !s.position.IsZero() {
		through = fmt.Sprintf(" (through %s)", s.position)
	}
	return &entrain.Stop{
		Code: "stream_topic_changed",
		What: fmt.Sprintf("the events of %s are in the topic %s%s, and FILE says %s", l.sink.transactionalID, old, through, l.name),
		Why:  fmt.Sprintf("sinks that read %s would never get what is in %s, nor those that read %[2]s what comes from now on", l.name, old),
		Next: fmt.Sprintf("put it back: topic: %s under stream in FILE, then entrain run FILE; or begin anew: with topic: %[1]s in FILE entrain teardown FILE; "+
			"empty the tables at the target (TRUNCATE); then with topic: %[2]s entrain run FILE", old, l.name),
	}
}

// judgeTopic looks whether the events of a log are where the file says.
func judgeTopic(p *production, f *facts) []entrain.Finding {
	if len(f.before) == 0 {
		return nil
	}
	one := entrain.Finding{Status: entrain.FindingError, Object: "topic " + f.topics[0].wanted.name,
		Why: fmt.Sprintf("the events of %s are in the topic %s: neither half goes on with another one (stream_topic_changed)",
			p.transactionalID, strings.Join(f.before, ", "))}
	for _, name := range f.before {
		one.Fix = append(one.Fix, entrain.Fix{Where: "pipeline file", Config: fmt.Sprintf("stream:\n  topic: %s\n", name)})
	}
	return []entrain.Finding{one}
}
