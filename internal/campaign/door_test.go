package campaign

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// echo is a server that says what it is told, and "bye" when nothing more comes.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", loopback+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err == nil {
					_, _ = c.Write([]byte("bye"))
				}
			}()
		}
	}()
	return l.Addr().String()
}

// through is a connection by a door, on which hello has been said.
func through(t *testing.T, d *door) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", d.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	say(t, c, "hello")
	return c
}

// say says something and reads it back.
func say(t *testing.T, c net.Conn, text string) time.Duration {
	t.Helper()
	began, back := time.Now(), make([]byte, len(text))
	_ = c.SetDeadline(began.Add(time.Minute))
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, back); err != nil || string(back) != text {
		t.Fatalf("said %.20q, heard %.20q, %v", text, back, err)
	}
	return time.Since(began)
}

// TestDoor: a door does to what passes what its weather says, and nothing when that is
// over; what it held comes then.
func TestDoor(t *testing.T) {
	d := newDoor(t, loopback, echo(t))
	if got, want := d.through("postgres://x@"+d.to+"/y"), "postgres://x@"+d.addr()+"/y"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	c := through(t, d)
	d.set(weather{delay: 100 * time.Millisecond, jitter: time.Millisecond})
	if took := say(t, c, "slowly"); took < 200*time.Millisecond {
		t.Errorf("there and back with 100 ms of latency in %s", took)
	}
	d.set(weather{piece: 100, rate: 20_000})
	if took := say(t, c, strings.Repeat("x", 10_000)); took < 500*time.Millisecond {
		t.Errorf("10000 bytes of 20000 a second in %s", took)
	}
	d.set(weather{hole: true})
	if _, err := c.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	back := make([]byte, 5)
	_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(back); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("through a hole came %d bytes, %v", n, err)
	}
	d.set(weather{})
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.ReadFull(c, back); err != nil || string(back) != "later" {
		t.Errorf("behind the hole came %q, %v", back, err)
	}
	d.halfClose(serversSide)
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "bye" {
		t.Errorf("the server that was told of an end said %q, %v", rest, err)
	}
	c = through(t, d)
	d.halfClose(programsSide)
	if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
		t.Errorf("the program was told of an end by %q, %v", rest, err)
	}
	if _, err := c.Write([]byte("still")); err != nil {
		t.Errorf("the other direction has ended, too: %v", err)
	}
	c = through(t, d)
	d.reset()
	if _, err := c.Read(back); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %v", err)
	}
}
