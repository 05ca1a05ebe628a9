package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
)

// facts are what a server says of itself.
type facts struct {
	run       string // changes whenever it is started
	version   string
	cluster   bool
	replica   bool
	loading   bool
	appendLog bool // appendonly yes
	policy    string
	maxMemory int64
	// sync is appendfsync; empty if we may not ask.
	sync string
}

// readInfo reads the answer to INFO.
func readInfo(text string) facts {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	f := facts{
		run: all["run_id"], version: all["redis_version"], cluster: all["cluster_enabled"] == "1",
		replica: all["role"] == "slave", loading: all["loading"] == "1", appendLog: all["aof_enabled"] == "1",
		policy: all["maxmemory_policy"],
	}
	f.maxMemory, _ = strconv.ParseInt(all["maxmemory"], 10, 64)
	return f
}

// oldest is the first major version that has what the scripts need.
const oldest = 7

// supported reports whether the version is not too old. One that cannot be read is
// let pass.
func (f *facts) supported() bool {
	major, _, _ := strings.Cut(f.version, ".")
	n, err := strconv.Atoi(major)
	return err != nil || n >= oldest
}

// synced reports whether everything is on the disk before it is acknowledged.
func (f *facts) synced() bool { return f.appendLog && f.sync == "always" }

// evicts reports whether the server may remove our keys, which have no time to
// live, when its memory is full.
func (f *facts) evicts() bool {
	return f.policy != "noeviction" && !strings.HasPrefix(f.policy, "volatile-")
}

// ask completes the facts by a setting that only CONFIG tells. A server that
// does not let us, or has no such command, is no error.
func (c *conn) ask(ctx context.Context) (facts, error) {
	f := c.seen()
	var err error
	f.sync, err = c.setting(ctx, "appendfsync")
	return f, err
}

// setting is one of the server's; empty if we may not ask.
func (c *conn) setting(ctx context.Context, name string) (string, error) {
	values, err := do(ctx, c, func() (map[string]string, error) {
		values, err := c.client.ConfigGet(ctx, name).Result()
		var told goredis.Error
		if errors.As(err, &told) && (goredis.IsPermissionError(err) || strings.Contains(err.Error(), "unknown command")) {
			return nil, nil
		}
		return values, err
	})
	return values[name], err
}

// suits returns why a server cannot be used.
func (s *server) suits(ctx context.Context, c *conn) error {
	f := c.seen()
	switch {
	case !f.supported():
		return s.stopVersion(&f)
	case f.cluster:
		return s.stopCluster()
	case f.replica:
		return &entrain.Unreachable{
			Why:  "the server is a replica, which takes no writes: another one is the master, or this one is about to become it",
			Next: s.cli("INFO replication"),
			Err:  entrain.Retryable(fmt.Errorf("the Redis at %s is a replica", s.url)),
		}
	case s.relaxed:
		return nil
	}
	f, err := c.ask(ctx)
	switch {
	case err != nil:
		return err
	case !f.synced():
		return s.stopDurability(&f)
	case f.evicts():
		return s.stopEviction(&f)
	}
	return nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
