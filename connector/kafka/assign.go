package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/entrainsync/entrain/stream"
)

type (
	commitRequest  = kmsg.OffsetCommitRequest
	commitResponse = kmsg.OffsetCommitResponse
)

// assignment is one membership of a group.
type assignment struct {
	log    *Log
	cursor string
	work   func(ctx context.Context, p stream.Partition) error
	ctx    context.Context
	end    context.CancelCauseFunc

	mu      sync.Mutex
	running map[int32]*job
}

// job is the work at one partition.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// assigned begins the work at partitions that are new here.
func (a *assignment) assigned(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range parts[a.log.name] {
		if a.running[p] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(a.ctx)
		j := &job{cancel: cancel, done: make(chan struct{})}
		a.running[p] = j
		go func() {
			defer close(j.done)
			if err := a.work(ctx, a.log.partition(p)); err != nil && ctx.Err() == nil {
				a.end(err)
			}
		}()
	}
}

// revoked ends the work at partitions that go elsewhere. The group waits: nobody
// begins there before this one has ended.
func (a *assignment) revoked(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	a.stop(parts[a.log.name])
}

func (a *assignment) stop(parts []int32) {
	var ending []*job
	a.mu.Lock()
	for _, p := range parts {
		if j := a.running[p]; j != nil {
			ending = append(ending, j)
			delete(a.running, p)
		}
	}
	a.mu.Unlock()
	for _, j := range ending {
		j.cancel()
	}
	for _, j := range ending {
		<-j.done
	}
}

// leave ends all work and then the membership.
func (a *assignment) leave(client *kgo.Client) {
	a.end(nil)
	a.mu.Lock()
	var all []int32
	for p := range a.running {
		all = append(all, p)
	}
	a.mu.Unlock()
	a.stop(all)
	a.log.member(a.cursor, nil)
	client.CloseAllowingRebalance()
}
