package nats

import (
	"context"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
)

// TestMuteServerIsAskedAnew: an embedded server that gives no answer at first is asked by
// another connection.
func TestMuteServerIsAskedAnew(t *testing.T) {
	t.Parallel()
	mute, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	mute.Start()
	t.Cleanup(func() {
		mute.Shutdown()
		mute.WaitForShutdown()
	})
	nc, err := natsgo.Connect("", natsgo.InProcessServer(mute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := nc.Subscribe("$JS.API.>", func(*natsgo.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	b := newFolder(t).backend(Config{})
	dial, asked := b.dial, 0
	b.dial = func(ctx context.Context, more ...natsgo.Option) (*natsgo.Conn, error) {
		if asked++; asked == 1 {
			return natsgo.Connect("", append(more, natsgo.InProcessServer(mute))...)
		}
		return dial(ctx, more...)
	}
	s, err := b.Open(t.Context(), "shop")
	if err != nil || asked != 2 {
		t.Fatalf("asked %d times: %v", asked, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
