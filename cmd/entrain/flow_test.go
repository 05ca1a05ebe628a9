package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrainsync/entrain"
	"github.com/entrainsync/entrain/internal/store"
)

// streamed is a pipeline with a stream, of which nothing is dialled.
const streamed = toFile + "stream: {type: embedded}\n"

// A pipeline that had a stream does not go on without: the source's slot is
// behind what the stream has (P1).
func TestStreamTakenOut(t *testing.T) {
	file := writeFile(t, toFile)
	p, _ := talk(source)
	l, err := p.load(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(store.Folder(l.file.State.Dir, "shop"), "sinks", "sink.shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	invoke(t, source, "run", "--until", "now", file).want(t, exitEnvironment, "stream_taken_out", "entrain teardown "+file)
}

// What a sink behind a stream says of its state is about the delivery's: to put
// the capture's away would forget the lives of tables.
func TestAdviceOfADelivery(t *testing.T) {
	p, _ := talk(source)
	l, err := p.load(writeFile(t, streamed))
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.delivery(l, l.sinks[0], "shop", l.log.Read("shop.sink", "shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var stop *entrain.Stop
	err = d.Explain(&entrain.Stop{Code: "file_replaced", Next: "mv STATE/state.db STATE/state.db.old; entrain run FILE"})
	want := filepath.Join(l.sinkFolder(), "sink.shop", "state.db")
	if !errors.As(err, &stop) || !strings.HasPrefix(stop.Next, "mv "+want+" ") || !strings.HasSuffix(stop.Next, "entrain run FILE") {
		t.Errorf("%v; want %s", err, want)
	}
}
