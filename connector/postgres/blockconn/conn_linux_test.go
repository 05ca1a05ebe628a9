package blockconn

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two ends of a connection, the first one taken.
func pair(t testing.TB, network, address string) (taken, peer net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			c = nil
		}
		accepted <- c
	}()
	dialed, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	peer = <-accepted
	if peer == nil {
		t.Fatal("nothing was accepted")
	}
	taken, err = Take(dialed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close(); peer.Close() })
	return taken, peer
}

// networks calls test for each kind of socket.
func networks(t *testing.T, test func(t *testing.T, network, address string)) {
	t.Run("tcp", func(t *testing.T) { test(t, "tcp", "127.0.0.1:0") })
	t.Run("unix", func(t *testing.T) { test(t, "unix", filepath.Join(t.TempDir(), "s")) })
}

// TestConn holds a taken connection to the contract of net.Conn: deadlines, calls
// side by side, closing while calls wait.
func TestConn(t *testing.T) {
	networks(t, func(t *testing.T, network, address string) {
		nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
			_ = os.Remove(address)
			taken, peer := pair(t, network, address)
			other, err := Take(peer)
			return taken, other, func() { taken.Close(); other.Close() }, err
		})
	})
}

// TestTakeKeepsWhatHasNoSocket: a connection that only looks like one is left as
// it is.
func TestTakeKeepsWhatHasNoSocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if got, err := Take(a); err != nil || got != a {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestTakeClosed: what is closed cannot be taken.
func TestTakeClosed(t *testing.T) {
	networks(t, func(t *testing.T, network, address string) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got, err := Take(c); err == nil {
			t.Errorf("got %v, want an error", got)
		}
	})
}

// TestInterrupt proves P7 for what it rests on: a read that waits ends when its
// deadline is set to the past, and a later one goes on.
func TestInterrupt(t *testing.T) {
	networks(t, func(t *testing.T, network, address string) {
		taken, peer := pair(t, network, address)
		for range 200 {
			failed := make(chan error, 1)
			go func() {
				var b [1]byte
				_, err := taken.Read(b[:])
				failed <- err
			}()
			taken.SetReadDeadline(time.Unix(1, 0))
			if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("an interrupted read: %v", err)
			}
			taken.SetReadDeadline(time.Time{})
		}
		if _, err := peer.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		var b [4]byte
		if n, err := taken.Read(b[:]); n != 1 || err != nil || b[0] != 'x' {
			t.Errorf("after the interrupts: %d, %v", n, err)
		}
	})
}

// TestDeadlinesAreMonotonic: a deadline is kept as a distance on the monotonic clock.
// As a time of day it would come at once, or not for hours, when the clock is set
// (CO-14).
func TestDeadlinesAreMonotonic(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, time.Hour} {
		now := time.Now()
		if got, want := time.Duration(mark(now.Add(d))), now.Sub(began)+d; got != want {
			t.Errorf("in %s: %s; want %s", d, got, want)
		}
		if left := remaining(mark(now.Add(d))); left > d || left < d-time.Second {
			t.Errorf("in %s: %s are left", d, left)
		}
	}
	if mark(time.Time{}) != 0 || mark(time.Unix(1, 0)) != 1 || mark(time.Date(1, 1, 1, 1, 1, 1, 1, time.UTC)) != 1 {
		t.Error("no deadline is 0, one of long ago is 1")
	}
	if mark(time.Now().Add(24*time.Hour)) > int64(25*time.Hour) {
		t.Error("a deadline is counted from the epoch, which the time of day is")
	}
}

// TestDeadlineOfLongAgo: a time before the clock's beginning, as pgx sets it to
// end a call, is a deadline too.
func TestDeadlineOfLongAgo(t *testing.T) {
	networks(t, func(t *testing.T, network, address string) {
		taken, _ := pair(t, network, address)
		taken.SetDeadline(time.Date(1, 1, 1, 1, 1, 1, 1, time.UTC))
		if _, err := taken.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		if _, err := taken.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
	})
}

// TestCloseEndsEverything: a nap, a read and a write to a peer that takes nothing
// end when the connection is closed, and the peer sees its end.
func TestCloseEndsEverything(t *testing.T) {
	networks(t, func(t *testing.T, network, address string) {
		taken, peer := pair(t, network, address)
		ended := make(chan error, 3)
		napper, ok := taken.(Napper)
		if !ok {
			t.Fatalf("%T cannot nap", taken)
		}
		go func() { napper.Nap(time.Hour); ended <- nil }()
		go func() { _, err := taken.Write(make([]byte, 64<<20)); ended <- err }()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		<-ctx.Done() // let them begin
		taken.Close()
		for range 2 {
			if err := <-ended; err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := taken.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a read of what is closed: %v", err)
		}
		if err := taken.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("closed twice: %v", err)
		}
		if err := peer.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 1<<20); ; {
			if _, err := peer.Read(buf); err != nil {
				if errors.Is(err, os.ErrDeadlineExceeded) {
					t.Error("the peer does not see the end")
				}
				break
			}
		}
	})
}
