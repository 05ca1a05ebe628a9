package kafkaserver

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// metaFile says whose the data are.
const metaFile = "meta.properties"

var clusterLine = regexp.MustCompile(`(?m)^cluster\.id=.*$`)

// newData fills the data folder of a new cluster: a copy of one that is made
// once and kept in the cache, since Kafka's own tool takes seconds. The copy
// gets a cluster id of its own.
func newData(ctx context.Context, install Install, dir string) error {
	cache, err := throwaway.CacheDir()
	if err != nil {
		return err
	}
	template := filepath.Join(cache, "template", "kafka-"+Version)
	if err := throwaway.FillOnce(template, func(tmp string) error { return format(ctx, install, tmp) }); err != nil {
		return fmt.Errorf("prepare a data folder: %w", err)
	}
	if err := os.CopyFS(dir, os.DirFS(data(template))); err != nil {
		return fmt.Errorf("copy the prepared data folder: %w", err)
	}
	file := filepath.Join(dir, metaFile)
	meta, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	meta = clusterLine.ReplaceAllLiteral(meta, []byte("cluster.id="+newID()))
	return os.WriteFile(file, meta, 0o644)
}

// newID returns an identifier as Kafka makes them: 16 bytes in base64.
func newID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f // never a dash in front: a tool would take it for an option
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// format lets Kafka's tool make a data folder in dir.
func format(ctx context.Context, install Install, dir string) error {
	b := broker{install: install}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(b.properties(dir, throwaway.RandomPort())), 0o644); err != nil {
		return err
	}
	if err := throwaway.GiveAway(dir); err != nil {
		return err
	}
	args := append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}, javaOptions(install, dir)...)
	args = append(args, "kafka.tools.StorageTool", "format", "-c", file, "-t", newID())
	cmd := exec.CommandContext(ctx, install.Java.Path, args...)
	cmd.Dir, cmd.Env = dir, throwaway.Environment(dir)
	throwaway.SetUser(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka.tools.StorageTool: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
