package redis

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/entrainsync/entrain"
)

// unreachable is a server that takes no session.
func (s *server) unreachable(ctx context.Context, err error) error {
	var stop *entrain.Stop
	if ctx.Err() != nil || errors.As(err, &stop) {
		return err
	}
	u := &entrain.Unreachable{
		Why:  "the server is not running, its name or port is another one, TLS is expected and url begins with redis://, or is not spoken there and it begins with rediss://, or a firewall is in between",
		Next: s.cli("PING"),
		Err:  entrain.Retryable(fmt.Errorf("connect to Redis: %w: %w", entrain.ErrDisconnected, err)),
	}
	if why := refused(err); why != "" {
		u.Why, u.Err = why, fmt.Errorf("connect to Redis: %w", cause(err))
	}
	return u
}

// refused is why another try would not be luckier; empty if it may be. Settings are
// named as the file calls them.
func refused(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	switch {
	case goredis.IsAuthError(err):
		return "the server refuses the user or the password in url"
	case errors.As(err, &authority):
		return "the server's certificate is signed by nobody whom we trust: ca is to name a file with the certificate of who signed it"
	case errors.As(err, &host):
		return "the server's certificate is for another name than that in url"
	case strings.Contains(err.Error(), "remote error: tls: "):
		return "the server wants a certificate from us, or refuses ours: cert and key are to name files with one that it trusts"
	}
	return ""
}

// cause takes the mark off that a new session may be luckier.
func cause(err error) error {
	for inner := errors.Unwrap(err); inner != nil && entrain.IsRetryable(err); inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

func (s *server) stopVersion(f *facts) error {
	return &entrain.Stop{
		Code: "redis_version",
		What: fmt.Sprintf("the Redis at %s is version %s", s.url, f.version),
		Why:  fmt.Sprintf("version %d is the oldest that has what is needed (flags of scripts)", oldest),
		Next: fmt.Sprintf("set url in FILE to a Redis %d or later; entrain run FILE", oldest),
	}
}

func (s *server) stopCluster() error {
	return &entrain.Stop{
		Code: "redis_cluster",
		What: fmt.Sprintf("the Redis at %s is a node of a cluster", s.url),
		Why:  "a cluster spreads keys over its nodes, and what is written at once here is on one",
		Next: "set url in FILE to a Redis that is no cluster (replicas are fine); entrain run FILE",
	}
}

// How the server is made to keep what it acknowledged.
const (
	setAppend   = "CONFIG SET appendonly yes appendfsync always"
	setNoEvict  = "CONFIG SET maxmemory-policy noeviction"
	setWhole    = "CONFIG SET aof-load-truncated no"
	keepSetting = "CONFIG REWRITE"
	mayAsk      = "+config|get"
)

func (s *server) stopDurability(f *facts) error {
	stop := &entrain.Stop{
		Code: codeDurability,
		What: fmt.Sprintf("the Redis at %s acknowledges what is not on its disk yet (%s)", s.url, f.persistence()),
		Why: "it would lose that when it ends, while the source has been told that it is safe; " +
			"durability: relaxed in FILE takes the server as it is",
		Next: s.admin(setAppend) + "; " + s.admin(keepSetting) + "; entrain run FILE",
	}
	if f.appendLog && f.sync == "" {
		stop.What = fmt.Sprintf("whether the Redis at %s has on its disk what it acknowledges cannot be seen: CONFIG GET is not allowed", s.url)
		stop.Next = s.admin("ACL SETUSER "+quote(s.user())+" "+quote(mayAsk)) + "; entrain run FILE"
	}
	return stop
}

// persistence is what the server has said, for people.
func (f *facts) persistence() string {
	if !f.appendLog {
		return "appendonly no"
	}
	return "appendfsync " + f.sync
}

func (s *server) stopEviction(f *facts) error {
	return &entrain.Stop{
		Code: codeEviction,
		What: fmt.Sprintf("the Redis at %s removes any keys when its memory is full (maxmemory-policy %s)", s.url, f.policy),
		Why:  "it could remove changes that no sink has read; durability: relaxed in FILE takes the server as it is",
		Next: s.admin(setNoEvict) + "; " + s.admin(keepSetting) + "; entrain run FILE",
	}
}

// user is who we are at the server.
func (s *server) user() string {
	if s.options.Username == "" {
		return "default"
	}
	return s.options.Username
}

// rights are what a user needs, as ACL SETUSER takes them.
func (s *server) rights() string {
	keys := "~" + s.prefix + ":*"
	for _, pattern := range s.streams {
		keys += " ~" + pattern
	}
	return keys + " +ping +info +client|setname +config|get +select +evalsha +eval +xadd +xread +xrange +xrevrange +xlen +xtrim +xdel " +
		"+xinfo +xgroup|create +hset +hget +hmget +hdel +hgetall +hincrby +sadd +smembers +exists +type +del +rpush +lrange +llen +time"
}

func (s *server) stopDenied(err error) error {
	return &entrain.Stop{
		Code: "redis_denied",
		What: fmt.Sprintf("the user %s may not do what is needed at the Redis at %s", s.user(), s.url),
		Why:  "a command or a key is not among its rights, which an administrator gives",
		Next: s.admin("ACL SETUSER "+quote(s.user())+" "+quoteAll(s.rights())) + "; entrain run FILE",
		Err:  err,
	}
}

func (s *server) stopForeign(err error) error {
	return &entrain.Stop{
		Code: "redis_foreign",
		What: fmt.Sprintf("a key of the Redis at %s that begins with %s: is none of ours", s.url, s.prefix),
		Why:  "another program uses these names",
		Next: "set another prefix in FILE; entrain run FILE",
		Err:  err,
	}
}

// restart begins a delivery anew where what it needs is gone from the stream.
const restart = "entrain teardown FILE; empty the tables at the target (TRUNCATE …), since rows that were deleted meanwhile would stay; entrain run FILE"

// stopLost is for a reader that has had messages which are gone.
func (s *sequence) stopLost(after uint64, g gap) error {
	return &entrain.Stop{
		Code: "stream_recreated", Lost: true,
		What: fmt.Sprintf("message %d of the stream %s was delivered, and the stream went on behind message %d", after, s.key, g.survived),
		Why: "the server was started again or replaced, and had lost its latest messages: it was restored from a backup, a replica that lacked " +
			"them has taken over, or they were not on its disk (durability: relaxed)",
		Next: restart,
	}
}

// stopEntry is for an entry that another program has put into the stream. Our writer
// appends nothing behind it: without it the stream is whole.
func (s *sequence) stopEntry(id string) error {
	return &entrain.Stop{
		Code: "stream_foreign",
		What: fmt.Sprintf("the entry %s of the stream %s is none of ours", id, s.key),
		Why:  "another program wrote it; nobody else may write there",
		Next: "look at it: " + s.look(id) + "; take it out: " + s.remove(id) + "; entrain run FILE",
	}
}

// stopApart is for a stream whose values are not its own.
func (s *sequence) stopApart() error {
	return &entrain.Stop{
		Code: "stream_damaged",
		What: fmt.Sprintf("the stream %s has lost the hash %s beside it, where positions and cursors are", s.key, s.beside),
		Why:  "somebody removed or replaced one of the two keys",
		Next: "restore the key from a backup; or begin anew: " + s.conn.server.cli("DEL "+quote(s.key)+" "+quote(s.beside)) + "; " + restart,
	}
}

// cli is a command of Redis as a person types it.
func (s *server) cli(command string) string { return "redis-cli -u " + quote(s.url) + " " + command }

// admin is a command as an administrator types it.
func (s *server) admin(command string) string {
	return "redis-cli -u " + quote(s.plain) + " " + command
}

// quote returns s as one word for the shell.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// quoteAll quotes each word.
func quoteAll(words string) string {
	list := strings.Fields(words)
	for i := range list {
		list[i] = quote(list[i])
	}
	return strings.Join(list, " ")
}
