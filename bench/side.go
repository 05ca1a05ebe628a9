package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// side measures apply with `parallel` 1, 2 and 4 by turns, on loopback and with
// a millisecond's round trip to the target.
func side(ctx context.Context, h *harness) (err error) {
	source, target, err := h.servers(ctx, map[string]string{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Remove(ctx), target.Remove(ctx)) }()
	p, err := h.prepare(ctx, source, load{"pairs", h.scaled(200_000), "insert_and_update"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.discard(ctx)) }()
	ours, err := openReplica(ctx, target, "side_entrain")
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	far, err := delay(target.Addr(), time.Millisecond/2)
	if err != nil {
		return err
	}
	defer far.close()
	for _, where := range []struct{ name, addr string }{{"on loopback", target.Addr()}, {"1 ms away", far.addr()}} {
		name := fmt.Sprintf("apply %d x (insert; update of another row) %s", p.count, where.name)
		h.say("%s", name)
		var contenders []contender
		for _, sessions := range []int{1, 2, 4} {
			contenders = append(contenders, contender{"entrain", func(ctx context.Context) (sample, error) {
				sink := strings.Replace(ours.sink(), target.Addr(), where.addr, 1) + fmt.Sprintf("\nparallel: %d", sessions)
				return ours.replay(ctx, p, func(slot string) (sample, error) {
					file, err := h.pipelineFile(entrainSource{url: p.server.URL(p.db), slot: slot}.yaml(), sink)
					if err != nil {
						return sample{}, err
					}
					return measure(ctx, h.bin, "run", file, "--until", p.end)
				})
			}})
		}
		samples, err := alternate(ctx, h, h.opt.runs, contenders...)
		if err != nil {
			return err
		}
		for i, sessions := range []int{2, 4} {
			label := fmt.Sprintf("%s, parallel: %d", name, sessions)
			if err := h.add(compare(pairing{label, "parallel: 1"}, samples[i+1], samples[0], limits{})); err != nil {
				return err
			}
		}
	}
	return nil
}

// distance is a proxy that delivers what it is sent after a while, in each
// direction; how much is on its way is not limited.
type distance struct {
	listener net.Listener
	to       string
	takes    time.Duration
	conns    sync.WaitGroup
}

// delay starts a proxy to the address.
func delay(to string, takes time.Duration) (*distance, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &distance{listener: l, to: to, takes: takes}
	d.conns.Go(d.accept)
	return d, nil
}

func (d *distance) addr() string { return d.listener.Addr().String() }

// close returns when all connections have ended.
func (d *distance) close() {
	d.listener.Close()
	d.conns.Wait()
}

func (d *distance) accept() {
	for {
		near, err := d.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", d.to)
		if err != nil {
			near.Close()
			continue
		}
		d.conns.Go(func() { d.carry(far, near) })
		d.conns.Go(func() { d.carry(near, far) })
	}
}

// parcel is what was read at a moment.
type parcel struct {
	data []byte
	due  time.Time
}

// carry ends when one of the ends does, and ends the other one.
func (d *distance) carry(to io.WriteCloser, from io.ReadCloser) {
	parcels := make(chan parcel, 4096)
	d.conns.Go(func() {
		defer close(parcels)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if err != nil {
				return
			}
			parcels <- parcel{data[:n], time.Now().Add(d.takes)}
		}
	})
	for p := range parcels {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	for range parcels { // what nobody takes any more
	}
}
