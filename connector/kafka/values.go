package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/entrainsync/entrain"
)

// valueKey begins the keys of values in a state topic.
const valueKey = "value/"

// valuesSuffix makes the transactional id of the producer that writes them: they
// are saved while the transaction of the events is open.
const valuesSuffix = ".values"

// values are what a capture has to remember. They are as they were read when the
// producer was taken over, and as they were saved since: nobody else can write
// them.
type values struct {
	p      *production
	client *kgo.Client

	mu   sync.Mutex
	all  map[string][]byte
	over error
}

// openValues fences the producer of values of an older session.
func openValues(ctx context.Context, p *production) (*values, error) {
	second := *p
	second.transactionalID += valuesSuffix
	second.transactionTimout = min(second.transactionTimout, time.Minute)
	client, err := second.producer()
	if err != nil {
		return nil, err
	}
	if _, _, err := client.ProducerID(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return &values{p: &second, client: client, all: map[string][]byte{}}, nil
}

// keep replaces the values of an older session; nil for none.
func (l *Log) keep(v *values) {
	l.mu.Lock()
	old := l.values
	l.values = v
	l.mu.Unlock()
	if old != nil {
		old.close()
	}
}

func (l *Log) kept() (*values, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values == nil {
		return nil, errors.New("the stream was not taken over yet")
	}
	return l.values, nil
}

// LoadValues implements [stream.Keeper].
func (l *Log) LoadValues(context.Context) (map[string][]byte, error) {
	v, err := l.kept()
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.all), v.over
}

// SaveValues implements [stream.Keeper]: the values are one transaction of a
// producer of their own, which is fenced as that of the events is.
func (l *Log) SaveValues(ctx context.Context, all map[string][]byte) error {
	v, err := l.kept()
	if err != nil {
		return err
	}
	return v.save(ctx, all)
}

func (v *values) save(ctx context.Context, all map[string][]byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.over != nil || len(all) == 0 {
		return v.over
	}
	err := bounded(ctx, patience, func(ctx context.Context) error { return v.write(ctx, all) })
	if err != nil {
		// Whether it is there is not known: the next session reads it.
		err = (&writer{production: v.p}).explain(fmt.Errorf("save state at kafka: %w", err))
		v.over = err
		return err
	}
	for key, text := range all {
		v.all[key] = append([]byte{}, text...)
	}
	return nil
}

func (v *values) write(ctx context.Context, all map[string][]byte) error {
	if err := v.client.BeginTransaction(); err != nil {
		return err
	}
	topic := strings.TrimSuffix(v.p.transactionalID, valuesSuffix) + stateSuffix
	records := make([]*kgo.Record, 0, len(all))
	for key, text := range all {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(valueKey + key), Value: append([]byte{}, text...)})
	}
	if err := v.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return err
	}
	return v.client.EndTransaction(ctx, kgo.TryCommit)
}

func (v *values) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = entrain.Retryable(errClosed)
	v.client.Close()
}
