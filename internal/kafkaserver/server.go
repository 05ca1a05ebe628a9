package kafkaserver

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// Config says what kind of broker to start.
type Config struct {
	// Install is what to run; see [Obtain].
	Install Install
	// Dir is the broker's folder, as in [throwaway.Config]. Empty: a temporary
	// one that Remove deletes.
	Dir string
	// Port on 127.0.0.1; 0: a free one below 32767. The controller listens on
	// the next higher one.
	Port int
	// JVM is the options of its Java; none: a small heap and little
	// compilation, which starts fast and is slow under load.
	JVM []string
	// Settings are merged over the defaults in server.properties: topics are
	// created when they are used, with one partition.
	Settings map[string]string
}

// small is the JVM of a broker for tests.
var small = []string{"-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}

// Server is a private broker without authentication. Its Stop is a controlled
// shutdown; after Kill or Stop, Start goes on with the same data. The methods
// may be called from several goroutines.
type Server struct{ *throwaway.Server }

// Start starts a broker and returns when it answers requests. ctx bounds the
// start only. After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	b := broker{install: cfg.Install, jvm: cfg.JVM, settings: cfg.Settings}
	if len(b.jvm) == 0 {
		b.jvm = small
	}
	srv, err := throwaway.Start(ctx, b, throwaway.Config{
		Name: "Kafka " + Version, Dir: cfg.Dir, Port: cfg.Port,
		Shutdown: syscall.SIGTERM, Orphan: syscall.SIGKILL, PortTaken: "Address already in use",
	})
	if err != nil {
		return nil, err
	}
	return &Server{srv}, nil
}

// broker is the program of one data folder.
type broker struct {
	install  Install
	jvm      []string
	settings map[string]string
}

// Prepare makes the data folder if there is none.
func (b broker) Prepare(ctx context.Context, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, logging), []byte(loggingText), 0o644); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(data(dir), metaFile)); err == nil {
		return nil
	}
	return newData(ctx, b.install, data(dir))
}

// Command writes the settings and returns the broker's command line.
func (b broker) Command(dir string, port int) ([]string, error) {
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(b.properties(dir, port)), 0o644); err != nil {
		return nil, fmt.Errorf("write the broker's settings: %w", err)
	}
	argv := append([]string{b.install.Java.Path}, b.jvm...)
	argv = append(argv, javaOptions(b.install, dir)...)
	return append(argv, "kafka.Kafka", file), nil
}

// javaOptions are what every program of Kafka is started with in dir.
func javaOptions(install Install, dir string) []string {
	return []string{
		"-XX:-UsePerfData", "-Djava.awt.headless=true", "-Djava.io.tmpdir=" + dir,
		"-Dlog4j2.configurationFile=" + filepath.Join(dir, logging), "-cp", filepath.Join(install.Libs, "*"),
	}
}

const logging = "log4j2.properties"

const loggingText = `rootLogger.level=WARN
rootLogger.appenderRef.c.ref=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1} %m%n
`

// properties is the content of server.properties.
func (b broker) properties(dir string, port int) string {
	all := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         fmt.Sprintf("1@127.0.0.1:%d", port+1),
		"listeners":                                        fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", port, port+1),
		"advertised.listeners":                             fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", port),
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "PLAINTEXT",
		"log.dirs":                                         data(dir),
		"num.partitions":                                   "1",
		"auto.create.topics.enable":                        "true",
		"offsets.topic.replication.factor":                 "1",
		"offsets.topic.num.partitions":                     "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.num.partitions":             "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		// A broker that was killed cannot come back before its session ends.
		"broker.session.timeout.ms":        "3000",
		"broker.heartbeat.interval.ms":     "500",
		"group.initial.rebalance.delay.ms": "0",
	}
	maps.Copy(all, b.settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&text, "%s=%s\n", name, strings.ReplaceAll(all[name], `\`, `\\`))
	}
	return text.String()
}

func data(dir string) string { return filepath.Join(dir, "data") }
