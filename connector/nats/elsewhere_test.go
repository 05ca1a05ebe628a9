package nats

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/entrainsync/entrain/internal/throwaway/throwawaytest"
)

// TestServersThatAreToldOf: SE-06. A server that tells of others, and then refuses the
// login, does not bring credentials to those.
func TestServersThatAreToldOf(t *testing.T) {
	var asked, logins atomic.Int64
	other := throwawaytest.Listen(t, func(net.Conn) { asked.Add(1) })
	first := throwawaytest.Listen(t, func(c net.Conn) {
		fmt.Fprintf(c, "INFO {\"server_id\":\"a\",\"version\":\"2.11.0\",\"proto\":1,\"max_payload\":1048576,\"auth_required\":true,\"connect_urls\":[%q]}\r\n", other)
		line, _ := bufio.NewReader(c).ReadString('\n')
		if strings.HasPrefix(line, "CONNECT ") && strings.Contains(line, "canary") {
			logins.Add(1)
		}
		fmt.Fprint(c, "-ERR 'Authorization Violation'\r\n")
	})
	log, err := NewLog(ServerConfig{URL: "nats://u:canary@" + first, Config: Config{Producer: "p"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	for range 2 {
		if _, err := log.Open(t.Context()); err == nil || strings.Contains(err.Error(), "canary") {
			t.Fatalf("open: %v", err)
		}
	}
	if logins.Load() == 0 || asked.Load() > 0 {
		t.Errorf("%d logins at the server, %d connections to the one that it tells of", logins.Load(), asked.Load())
	}
}
