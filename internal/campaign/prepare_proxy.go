package campaign

import (
	"bufio"
	wire "encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// prepareProxy stands between a pipeline and its source. If it is early, the server is
// asked to decode prepared transactions at PREPARE, and that looks like a commit to the
// pipeline.
type prepareProxy struct {
	early bool

	server   string
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

func newPrepareProxy(t testing.TB, server string) *prepareProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &prepareProxy{server: server, listener: l}
	p.wg.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// url leads to the server through the proxy.
func (p *prepareProxy) url(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw // the pipeline will say
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

func (p *prepareProxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *prepareProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		p.pass(func() error { return p.asks(client, server) }, client, server)
		p.pass(func() error { return p.answers(server, client) }, client, server)
	}
}

// pass runs one direction; its end is that of both.
func (p *prepareProxy) pass(run func() error, ends ...io.Closer) {
	p.wg.Go(func() {
		_ = run() // a connection that broke is what it looks like
		for _, e := range ends {
			_ = e.Close()
		}
	})
}

// asks passes on what the client says. It refuses encryption, which the servers here
// do not offer either.
func (p *prepareProxy) asks(client, server net.Conn) error {
	const sslRequest, gssRequest = 80877103, 80877104
	in := bufio.NewReader(client)
	for begun := false; !begun; {
		head, err := in.Peek(8)
		if err != nil {
			return err
		}
		size, code := int64(wire.BigEndian.Uint32(head)), wire.BigEndian.Uint32(head[4:])
		if code == sslRequest || code == gssRequest {
			_, err = in.Discard(8)
			if err == nil {
				_, err = client.Write([]byte("N"))
			}
		} else {
			begun = true
			_, err = io.CopyN(server, in, size)
		}
		if err != nil {
			return err
		}
	}
	return messages(in, server, func(kind byte, body []byte) []byte {
		if kind != 'Q' || !p.early || !strings.HasPrefix(string(body), "START_REPLICATION") {
			return body
		}
		return []byte(strings.Replace(string(body), "proto_version '1'", "proto_version '3', two_phase 'on'", 1))
	})
}

// answers passes on what the server says.
func (p *prepareProxy) answers(server, client net.Conn) error {
	const header = 25 // of a piece of the log: w, two positions and a time
	return messages(bufio.NewReader(server), client, func(kind byte, body []byte) []byte {
		if kind != 'd' || !p.early || len(body) <= header || body[0] != 'w' {
			return body
		}
		return asCommit(body[:header:header], body[header:])
	})
}

// asCommit makes BEGIN and COMMIT of what begins and ends a prepared transaction; what
// becomes of it later is left out.
func asCommit(header, m []byte) []byte {
	switch {
	case m[0] == 'b' && len(m) > 28: // position, its end, time, xid, name
		return append(append(append(header, 'B'), m[1:9]...), m[17:29]...)
	case m[0] == 'P' && len(m) > 26: // flags, position, its end, time, xid, name
		return append(append(header, 'C'), m[1:26]...)
	case m[0] == 'K' || m[0] == 'r':
		return nil
	}
	return append(header, m...)
}

// messages passes messages on as change returns them; nil is none.
func messages(in *bufio.Reader, out io.Writer, change func(kind byte, body []byte) []byte) error {
	var head [5]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		size := wire.BigEndian.Uint32(head[1:])
		if size < 4 || size > 1<<30 {
			return fmt.Errorf("a message of %d bytes", size)
		}
		body := make([]byte, size-4)
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		changed := change(head[0], body)
		if changed == nil && len(body) > 0 {
			continue
		}
		whole := append(wire.BigEndian.AppendUint32([]byte{head[0]}, uint32(len(changed)+4)), changed...)
		if _, err := out.Write(whole); err != nil {
			return err
		}
	}
}
