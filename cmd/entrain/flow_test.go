package main

import (
	"errors"
	"fmt"
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
	d, err := p.delivery(l, l.sinks[0], "shop", deliveryFrom{source: l.log.Read("shop.sink", "shop")})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var stop *entrain.Stop
	err = d.Explain(t.Context(), &entrain.Stop{Code: "file_replaced", Next: "mv STATE/state.db STATE/state.db.old; entrain run FILE"})
	want := filepath.Join(l.sinkFolder(), "sink.shop", "state.db")
	if !errors.As(err, &stop) || !strings.HasPrefix(stop.Next, "mv "+want+" ") || !strings.HasSuffix(stop.Next, "entrain run FILE") {
		t.Errorf("%v; want %s", err, want)
	}
}

// What a delivery waits for is mended without a command, and where a command is about
// one of several sinks, it says which.
func TestAdviceBehindAStream(t *testing.T) {
	at := place{file: "shop.yaml", sink: "copy"}
	var stop *entrain.Stop
	err := at.fillStop(&entrain.Stop{Code: "x", Next: "ALTER TABLE t ADD c int;\n-- then: entrain run FILE"})
	if !errors.As(err, &stop) || stop.Next != "ALTER TABLE t ADD c int;\n-- "+goesOn {
		t.Errorf("%v", err)
	}
	alone := place{file: "shop.yaml"}.fillStop(&entrain.Stop{Code: "x", Next: "-- then: entrain run FILE"})
	if !errors.As(alone, &stop) || stop.Next != "-- then: entrain run shop.yaml" {
		t.Errorf("without a stream: %v", alone)
	}
	of := part{report: entrain.Report{Findings: []entrain.Finding{{Fix: []entrain.Fix{{Shell: "entrain sequences sync FILE"}}}}}}
	of.fill(at)
	if got := of.report.Findings[0].Fix[0].Shell; got != "entrain sequences sync shop.yaml --sink copy" {
		t.Errorf("the fix is %s", got)
	}
}

// TestVerifyTakesTheOnlySink: of several sinks the one is compared whose rows can be;
// of two such ones a person chooses.
func TestVerifyTakesTheOnlySink(t *testing.T) {
	p, _ := talk(source)
	const copies, lines = `{name: %s, type: postgres, url: "postgres://x@127.0.0.1:1/x"}`, `{name: lines, type: file, path: "-"}`
	const from = "name: shop\nsource: {type: postgres, url: \"${SOURCE_URL}\"}\nstream: {type: embedded}\nsinks: ["
	for text, want := range map[string]string{
		from + lines + ", " + fmt.Sprintf(copies, "copy") + "]\n":                     "copy",
		from + fmt.Sprintf(copies, "one") + ", " + fmt.Sprintf(copies, "two") + "]\n": "choose one with --sink",
	} {
		l, err := p.load(writeFile(t, text))
		if err != nil {
			t.Fatal(err)
		}
		_, _, end, err := l.digesters("")
		if err == nil && end.section.Name != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("of %s: %v; want %s", text, err, want)
		}
	}
}

// TestMissingBehindAStream: the ways differ where the capture is another process, which
// has the definition.
func TestMissingBehindAStream(t *testing.T) {
	stop := &entrain.Stop{Code: "table_missing", Table: &entrain.Table{Schema: "public", Name: "it's"}}
	for half, want := range map[half]string{both: "create_tables: true at sink copy in shop.yaml", deliverOnly: "# where entrain capture shop.yaml runs"} {
		var told *entrain.Stop
		if !errors.As(place{file: "shop.yaml", half: half, sink: "copy"}.fillStop(stop), &told) || !strings.Contains(told.Next, want) ||
			!strings.Contains(told.Next, `entrain table resync shop.yaml 'public.it'\''s'`) || strings.Contains(told.Next, "create_tables") != (half == both) {
			t.Errorf("%d: %s", half, told.Next)
		}
	}
}
