package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

// TestSentElsewhere: SE-06. A server that answers with the address of another one, as those
// of a cluster or a maintained one do, brings no credentials there: entrain talks to the
// server that the file names.
func TestSentElsewhere(t *testing.T) {
	for _, answer := range []string{"-MOVED 866 OTHER\r\n", "-ASK 866 OTHER\r\n", ">4\r\n+MOVING\r\n:1\r\n:0\r\n+OTHER\r\n-MOVED 866 OTHER\r\n"} {
		t.Run(strings.Fields(answer)[0], func(t *testing.T) {
			var asked, heard atomic.Int64
			other := throwawaytest.Listen(t, func(net.Conn) { asked.Add(1) })
			first := throwawaytest.Listen(t, func(c net.Conn) {
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				for in := bufio.NewReader(c); ; {
					command, err := readCommand(in)
					if strings.Contains(command, "canary") {
						heard.Add(1)
					}
					if err == nil {
						_, err = io.WriteString(c, strings.ReplaceAll(answer, "OTHER", other))
					}
					if err != nil {
						return
					}
				}
			})
			_, err := newLog(t, Server{URL: "redis://u:canary@" + first, Prefix: unique()}).Open(t.Context())
			if err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("open: %v", err)
			}
			t.Logf("%v (tried again: %v)", err, entrain.IsRetryable(err))
			if heard.Load() == 0 || asked.Load() > 0 {
				t.Errorf("%d logins at the server, %d connections to the one that it names", heard.Load(), asked.Load())
			}
		})
	}
}

// readCommand returns the words of a command and their lengths.
func readCommand(in *bufio.Reader) (command string, err error) {
	line, err := in.ReadString('\n')
	var n int
	if _, scanned := fmt.Sscanf(line, "*%d", &n); err != nil || scanned != nil {
		return "", errors.Join(err, scanned)
	}
	for range 2 * n {
		line, err = in.ReadString('\n')
		command += line
	}
	return command, err
}
