package kafkaserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// answerTime is how long an answer may take before the broker is asked anew.
const answerTime = 2 * time.Second

// maxAnswer bounds an answer, in bytes: it has one broker and no topic in it.
const maxAnswer = 1 << 16

// Ready reports whether the broker answers a request, which it does later than
// its port is open. That it is ours shows by the cluster: another broker may
// have the port.
func (b broker) Ready(ctx context.Context, look throwaway.Look) bool {
	meta, err := os.ReadFile(filepath.Join(data(look.Dir), metaFile))
	if err != nil {
		return false
	}
	_, id, _ := bytes.Cut(clusterLine.Find(meta), []byte("="))
	answer, err := metadata(ctx, fmt.Sprintf("127.0.0.1:%d", look.Port))
	return err == nil && len(id) > 0 && bytes.Contains(answer, bytes.TrimSpace(id))
}

// metadata asks the broker for its cluster's description without any topic:
// request Metadata, version 2.
func metadata(ctx context.Context, addr string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	request := binary.BigEndian.AppendUint32(nil, 14)         // the length of what follows
	request = binary.BigEndian.AppendUint32(request, 3<<16|2) // Metadata, version 2
	request = binary.BigEndian.AppendUint32(request, 7)       // correlation
	request = binary.BigEndian.AppendUint16(request, 0xffff)  // no client id
	request = binary.BigEndian.AppendUint32(request, 0)       // no topic
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, min(binary.BigEndian.Uint32(size[:]), maxAnswer))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}
