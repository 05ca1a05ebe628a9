package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// readyPoll is how often the engine is asked whether it streams.
const readyPoll = 100 * time.Millisecond

// awaitStreaming waits until the engine streams; false if ctx ended before.
func awaitStreaming(ctx context.Context, e engine) bool {
	poll := time.NewTicker(readyPoll)
	defer poll.Stop()
	for e.Status().Phase != "streaming" {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// notifyReady tells the service manager when the pipeline streams.
func (p *program) notifyReady(ctx context.Context, e engine) {
	if _, ok := p.env("NOTIFY_SOCKET"); ok && awaitStreaming(ctx, e) {
		p.notify("READY=1")
	}
}

// notifyReloading tells the service manager that a SIGHUP was heard; READY=1
// follows when the pipeline streams again, or still.
func (p *program) notifyReloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		p.log.Warn("cannot tell the service manager", "state", "RELOADING=1", "error", err)
		return
	}
	p.notify(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
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
