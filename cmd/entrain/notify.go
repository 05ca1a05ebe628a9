package main

import (
	"context"
	"net"
	"time"
)

// readyPoll is how often the engine is asked whether it streams.
const readyPoll = 100 * time.Millisecond

// notifyReady tells the service manager when the pipeline first streams.
func (p *program) notifyReady(ctx context.Context, e engine) {
	if _, ok := p.env("NOTIFY_SOCKET"); !ok {
		return
	}
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for e.Status().Phase != "streaming" {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
	p.notify("READY=1")
}

// notify sends a state to the service manager (sd_notify), if there is one.
func (p *program) notify(state string) {
	path, ok := p.env("NOTIFY_SOCKET")
	if !ok || path == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		_ = conn.Close()
	}
	if err != nil {
		p.log.Warn("cannot tell the service manager", "state", state, "error", err)
	}
}
