package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// decode measures log → native JSON beside pg_recvlogical, which writes what
// the server sends as it is; both to /dev/null.
func decode(ctx context.Context, h *harness) (err error) {
	peer, err := recvlogical(h)
	if err != nil {
		return err
	}
	srv, err := h.server(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Remove(ctx)) }()
	small := load{"one_row", h.scaled(400_000), "insert_rows"}
	big := load{"one_transaction", h.opt.rows, "insert_at_once"}
	for _, w := range []decodeWork{
		{
			load: small, peer: peer,
			name: fmt.Sprintf("decode %d one-row transactions", small.count),
			want: limits{rate: 2.2, cpu: 0.5, rssMB: 64},
		},
		{
			load: big, peer: peer,
			name:    fmt.Sprintf("decode %d rows of one transaction", big.count),
			want:    limits{rate: 1.5, cpu: 0.7, rssMB: 64},
			workMem: &limits{rate: 2, cpu: 0.7, rssMB: 64},
		},
	} {
		p, err := h.prepare(ctx, srv, w.load)
		if err != nil {
			return err
		}
		if err := errors.Join(w.measure(ctx, h, p), p.discard(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// recvlogical finds the peer.
func recvlogical(h *harness) (string, error) {
	path := h.install.Path("pg_recvlogical")
	if _, err := exec.LookPath(path); err == nil {
		return path, nil
	}
	path, err := exec.LookPath("pg_recvlogical")
	if err != nil {
		return "", fmt.Errorf("the peer pg_recvlogical is neither in %s nor in PATH; it is in the package postgresql-client-%d", h.install.Bin, major)
	}
	return path, nil
}

// decodeWork is one load and what is wanted of it.
type decodeWork struct {
	load
	name string
	peer string // path of pg_recvlogical
	want limits
	// workMem is wanted with decoding_work_mem: 1GB, if it is measured at all.
	workMem *limits
}

// unixRate is what is wanted over a Unix socket, where reads cannot merge.
const unixRate = 0.9

// measure reads the load over TCP, then over the Unix socket.
func (w decodeWork) measure(ctx context.Context, h *harness, p *prepared) error {
	tcp := p.server.URL(p.db)
	contenders := []contender{w.recvlogical(p, tcp), w.entrain(h, p, entrainSource{url: tcp})}
	if w.workMem != nil {
		contenders = append(contenders, w.entrain(h, p, entrainSource{url: tcp, workMem: "1GB"}))
	}
	h.say("%s, TCP", w.name)
	samples, err := alternate(ctx, h, h.opt.runs, contenders...)
	if err != nil {
		return err
	}
	err = h.add(compare(pairing{w.name, "pg_recvlogical"}, samples[1], samples[0], w.want))
	if err == nil && w.workMem != nil {
		err = h.add(compare(pairing{w.name + ", decoding_work_mem 1GB", "pg_recvlogical"}, samples[2], samples[0], *w.workMem))
	}
	if err != nil {
		return err
	}
	unix := p.server.SocketURL(p.db)
	h.say("%s, Unix socket", w.name)
	samples, err = alternate(ctx, h, h.opt.runs, w.recvlogical(p, unix), w.entrain(h, p, entrainSource{url: unix}))
	if err != nil {
		return err
	}
	return h.add(compare(pairing{w.name + ", Unix socket", "pg_recvlogical"}, samples[1], samples[0], limits{rate: unixRate}))
}

func (w decodeWork) recvlogical(p *prepared, url string) contender {
	return contender{"pg_recvlogical", func(ctx context.Context) (sample, error) {
		slot, err := p.copySlot(ctx)
		if err != nil {
			return sample{}, err
		}
		s, err := measure(ctx, w.peer, "-d", url, "-S", slot, "--start", "--no-loop", "-f", "/dev/null",
			"-o", "proto_version=1", "-o", "publication_names=p", "--endpos="+p.end)
		return s, errors.Join(err, p.dropSlot(ctx, slot))
	}}
}

func (w decodeWork) entrain(h *harness, p *prepared, source entrainSource) contender {
	name := "entrain"
	if source.workMem != "" {
		name += ", decoding_work_mem " + source.workMem
	}
	return contender{name, func(ctx context.Context) (sample, error) {
		var err error
		if source.slot, err = p.copySlot(ctx); err != nil {
			return sample{}, err
		}
		file, err := h.pipelineFile(source.yaml(), "type: file\npath: /dev/null\nformat: native")
		if err != nil {
			return sample{}, err
		}
		s, err := measure(ctx, h.bin, "run", file, "--until", p.end)
		return s, errors.Join(err, p.dropSlot(ctx, source.slot))
	}}
}

// entrainSource is the source section of a pipeline file.
type entrainSource struct {
	url, slot, workMem string
	publication        string // "": p
}

func (s entrainSource) yaml() string {
	text := fmt.Sprintf("url: %q\nslot: %s\npublication: %s", s.url, s.slot, cmp.Or(s.publication, "p"))
	if s.workMem != "" {
		text += "\ndecoding_work_mem: " + s.workMem
	}
	return text
}
