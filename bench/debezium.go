package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/entrainsync/entrain/internal/throwaway"
)

const (
	debeziumVersion = "3.6.0.Final"
	// debeziumJava is the oldest Java that Debezium Server runs on.
	debeziumJava = 21
)

var debeziumArchive = throwaway.Artifact{
	Path:   "io/debezium/debezium-server-dist/" + debeziumVersion + "/debezium-server-dist-" + debeziumVersion + ".tar.gz",
	SHA256: "901ce7b0b75b4dafaac4aa57dac6dfcad5937f96fb7159e25d22759bbf5192e4",
}

// debeziumInstall is Debezium Server on this machine.
type debeziumInstall struct {
	java throwaway.Java
	dir  string // holds the runner and lib
}

// obtainDebezium finds Java and takes Debezium Server from the cache, after
// downloading it (781 MB, of which 420 are kept) if it is not there.
func obtainDebezium(ctx context.Context, h *harness) (debeziumInstall, error) {
	java, err := throwaway.FindJava(ctx, debeziumJava)
	if err != nil {
		return debeziumInstall{}, fmt.Errorf("the peer Debezium Server: %w", err)
	}
	cache, err := throwaway.CacheDir()
	if err != nil {
		return debeziumInstall{}, err
	}
	dir := filepath.Join(cache, "debezium-server", debeziumVersion)
	err = throwaway.FillOnce(dir, func(dir string) error {
		h.say("fetching Debezium Server %s, 781 MB, into the cache", debeziumVersion)
		return debeziumArchive.Temporary(ctx, func(f *os.File, _ int64) error { return unpackDebezium(f, dir) })
	})
	if err != nil {
		return debeziumInstall{}, fmt.Errorf("fetch the peer Debezium Server: %w", err)
	}
	return debeziumInstall{java, dir}, nil
}

// unpackDebezium writes what the server's own script puts into the class path:
// the runner and the libraries.
func unpackDebezium(f *os.File, dir string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	plain, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "lib"), 0o755); err != nil {
		return err
	}
	archive := tar.NewReader(plain)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, _ := strings.CutPrefix(header.Name, "debezium-server/")
		folder, file := filepath.Split(name)
		if !strings.HasSuffix(file, ".jar") || folder != "" && folder != "lib/" {
			continue
		}
		if err := writeOut(filepath.Join(dir, folder, file), archive); err != nil {
			return err
		}
	}
}

func writeOut(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

// debeziumDefaults are the settings without which nothing runs; all others have
// their defaults. debeziumTuned are those that its documentation and our trials
// have as fast ones: no schemas in the records, large batches, two threads.
var (
	debeziumDefaults = map[string]string{
		"debezium.sink.type":                            "kafka",
		"debezium.sink.kafka.producer.key.serializer":   "org.apache.kafka.common.serialization.StringSerializer",
		"debezium.sink.kafka.producer.value.serializer": "org.apache.kafka.common.serialization.StringSerializer",
		"debezium.source.connector.class":               "io.debezium.connector.postgresql.PostgresConnector",
		"debezium.source.offset.storage.file.filename":  "offsets.dat",
		"debezium.source.offset.flush.interval.ms":      "0",
		"debezium.source.database.hostname":             "127.0.0.1",
		"debezium.source.database.user":                 "postgres",
		"debezium.source.database.password":             "none",
		"debezium.source.plugin.name":                   "pgoutput",
		"debezium.source.publication.name":              kafkaPublication,
		"debezium.source.publication.autocreate.mode":   "disabled",
		"debezium.source.table.include.list":            "public.t",
		"debezium.source.snapshot.mode":                 "no_data",
		"quarkus.http.host":                             "127.0.0.1",
		"quarkus.log.console.json":                      "false",
	}
	debeziumTuned = map[string]string{
		"debezium.format.key.schemas.enable":            "false",
		"debezium.format.value.schemas.enable":          "false",
		"debezium.source.max.batch.size":                "16384",
		"debezium.source.max.queue.size":                "65536",
		"debezium.source.poll.interval.ms":              "5",
		"debezium.source.offset.flush.interval.ms":      "10000",
		"debezium.source.statistics.metrics.enabled":    "false",
		"debezium.source.record.processing.threads":     "2",
		"debezium.source.record.processing.order":       "ORDERED",
		"debezium.source.snapshot.fetch.size":           "20000",
		"debezium.sink.kafka.producer.compression.type": "lz4",
		"debezium.sink.kafka.producer.linger.ms":        "5",
		"debezium.sink.kafka.producer.batch.size":       "524288",
		"debezium.sink.kafka.producer.buffer.memory":    "134217728",
	}
)

// debeziumHeap is the most that its heap may have; it takes what it gets.
const debeziumHeap = "1g"

// debezium is one run of Debezium Server, as a program that throwaway runs.
type debezium struct {
	install  debeziumInstall
	settings map[string]string
	atWork   func(context.Context) bool // whether it has begun with what counts
}

// start runs it until it is at work.
func (d debezium) start(ctx context.Context) (*throwaway.Server, error) {
	return throwaway.Start(ctx, d, throwaway.Config{
		Name: "Debezium Server " + debeziumVersion, Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "already bound",
	})
}

// Prepare makes the folder of the settings.
func (d debezium) Prepare(_ context.Context, dir string) error {
	return os.Mkdir(filepath.Join(dir, "config"), 0o755)
}

// Command writes the settings; the port is that of its health checks.
func (d debezium) Command(dir string, port int) ([]string, error) {
	all := maps.Clone(d.settings)
	all["quarkus.http.port"] = fmt.Sprint(port)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s=%s\n", name, all[name])
	}
	err := os.WriteFile(filepath.Join(dir, "config", "application.properties"), []byte(text.String()), 0o644)
	runner := filepath.Join(d.install.dir, "debezium-server-dist-"+debeziumVersion+"-runner.jar")
	return []string{
		d.install.java.Path, "-Xmx" + debeziumHeap, "-Djava.io.tmpdir=" + dir,
		"-cp", runner + ":" + filepath.Join(dir, "config") + ":" + filepath.Join(d.install.dir, "lib", "*"), "io.debezium.server.Main",
	}, err
}

// Ready reports whether it is at work.
func (d debezium) Ready(ctx context.Context, _ throwaway.Look) bool { return d.atWork(ctx) }
