package campaign

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// need skips the case, by the name of what is missing, unless all these programs are
// there.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("the program %s is missing", name)
		}
	}
}

// needRoot skips the case unless this is root.
func needRoot(t testing.TB, why string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skipf("root is missing: %s", why)
	}
}

// tool runs a program and returns what it said; an error has that, too.
func tool(input string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// box is a process in namespaces of its own, which last as long as it does: until the
// test ends or this process.
type box struct {
	cmd   *exec.Cmd
	input io.Closer
}

// newBox makes namespaces by unshare's flags and runs a script in them, behind which
// the box is ready. The case is skipped where that is not allowed.
func newBox(t testing.TB, flags []string, script string, args ...string) *box {
	t.Helper()
	need(t, "unshare", "nsenter")
	flags = append(flags, "sh", "-c", script+" && echo ready && exec cat >/dev/null", "sh")
	b := &box{cmd: exec.Command("unshare", append(flags, args...)...)}
	input, err := b.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	b.input = input
	var said strings.Builder
	b.cmd.Stderr = &said
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(output).ReadString('\n')
	end := func() {
		b.input.Close()
		_ = b.cmd.Wait() // it has nothing to say
	}
	if strings.TrimSpace(line) != "ready" {
		end()
		t.Skipf("namespaces are missing: %s", strings.TrimSpace(said.String()))
	}
	t.Cleanup(end)
	return b
}

func (b *box) pid() int { return b.cmd.Process.Pid }

// enter is by what a program runs in the box; flags are nsenter's.
func (b *box) enter(flags ...string) []string {
	return append([]string{"nsenter", "--target", strconv.Itoa(b.pid())}, flags...)
}

// disks are small file systems of their own in a mount namespace: the folders of an
// arena.
type disks struct {
	*box
	folder string
	inside []string
}

// diskNames are the folders, and what is in them.
var diskNames = []string{stateDisk, "stream", "lines"}

const stateDisk = "state"

// diskSize is that of a disk that is not full.
const diskSize = 8 << 30

func newDisks(t testing.TB) *disks {
	t.Helper()
	need(t, "mount")
	d := &disks{folder: t.TempDir()}
	flags, enter := []string{"--mount", "--propagation", "private"}, []string{"--mount"}
	if os.Getuid() != 0 {
		flags, enter = append(flags, "--user", "--map-root-user"), append(enter, "--user", "--preserve-credentials")
	}
	script := fmt.Sprintf(`cd "$1" && for d in %s; do mkdir $d && mount -t tmpfs -o size=%d small $d || exit 1; done`, strings.Join(diskNames, " "), diskSize)
	d.box = newBox(t, flags, script, d.folder)
	d.inside = append(d.enter(enter...), "--")
	return d
}

// seen is the folder as it is reached from outside.
func (d *disks) seen() string { return filepath.Join(fmt.Sprintf("/proc/%d/root", d.pid()), d.folder) }

// resize leaves a disk that many bytes more than it has in use, or as large as it was.
func (d *disks) resize(name string, room int64) error {
	size := int64(diskSize)
	if room >= 0 {
		var is syscall.Statfs_t
		if err := syscall.Statfs(filepath.Join(d.seen(), name), &is); err != nil {
			return err
		}
		size = int64(is.Blocks-is.Bfree)*int64(is.Bsize) + room
	}
	args := append(append([]string(nil), d.inside...), "mount", "-o", fmt.Sprintf("remount,size=%d", size), filepath.Join(d.folder, name))
	_, err := tool("", args...)
	return err
}

// unlimited is the room of a disk that is not full.
const unlimited = -1

// shrink makes a disk full, but for a little. What is written meanwhile can make it
// refuse: then once more.
func (d *disks) shrink(a *arena, name string) {
	a.t.Helper()
	for room := int64(a.rng.IntN(256 << 10)); ; room += 256 << 10 {
		err := d.resize(name, room)
		if err == nil {
			return
		}
		if room > 64<<20 {
			a.t.Fatalf("make the disk %s full: %v", name, err)
		}
	}
}

// grow gives it room again.
func (d *disks) grow(a *arena, name string) {
	a.t.Helper()
	if err := d.resize(name, unlimited); err != nil {
		a.t.Fatal(err)
	}
}

// cable is a network namespace at the end of a pair of virtual interfaces, on which
// packets get lost by chance.
type cable struct {
	*box
	host   string // the address of this end
	inside []string
}

func newCable(t testing.TB) *cable {
	t.Helper()
	need(t, "ip", "nft")
	needRoot(t, "a rule that drops packets is made by root only")
	w := &cable{box: newBox(t, []string{"--net"}, "true")}
	w.inside = append(w.enter("--net"), "--")
	n := w.pid() % 48000 // 10.64 to 10.255
	name, net := fmt.Sprintf("entrain%d", n), fmt.Sprintf("10.%d.%d", 64+n/250, n%250)
	w.host = net + ".1"
	for _, args := range [][]string{
		{"ip", "link", "add", name, "type", "veth", "peer", "name", "out", "netns", strconv.Itoa(w.pid())},
		{"ip", "addr", "add", w.host + "/30", "dev", name},
		{"ip", "link", "set", name, "up"},
		w.in("ip", "link", "set", "lo", "up"),
		w.in("ip", "addr", "add", net+".2/30", "dev", "out"),
		w.in("ip", "link", "set", "out", "up"),
		w.in("nft", "add", "table", "inet", "weather"),
		w.in("nft", "add", "chain", "inet", "weather", "in", "{ type filter hook input priority 0; }"),
		w.in("nft", "add", "chain", "inet", "weather", "out", "{ type filter hook output priority 0; }"),
	} {
		if _, err := tool("", args...); err != nil {
			t.Skipf("a network of its own is missing: %v", err)
		}
	}
	return w
}

func (w *cable) in(args ...string) []string {
	return append(append([]string(nil), w.inside...), args...)
}

// allLost is all of a thousand packets.
const allLost = 1000

// lose has of a thousand packets so many lost, in both directions.
func (w *cable) lose(ofThousand int) error {
	which := ""
	if ofThousand < allLost {
		which = fmt.Sprintf("numgen random mod %d < %d", allLost, ofThousand)
	}
	rules := "flush chain inet weather in\nflush chain inet weather out\n"
	if ofThousand > 0 {
		for _, chain := range []string{"in", "out"} {
			rules += fmt.Sprintf("add rule inet weather %s %s counter drop\n", chain, which)
		}
	}
	_, err := tool(rules, w.in("nft", "-f", "-")...)
	return err
}

// lost is how many packets were dropped since lose was last called.
func (w *cable) lost() (n int64, err error) {
	said, err := tool("", w.in("nft", "list", "table", "inet", "weather")...)
	for _, count := range dropped.FindAllStringSubmatch(said, -1) {
		packets, err := strconv.ParseInt(count[1], 10, 64)
		if err != nil {
			return 0, err
		}
		n += packets
	}
	return n, err
}

// dropped is how nftables tells the counter of a rule.
var dropped = regexp.MustCompile(`counter packets (\d+)`)
