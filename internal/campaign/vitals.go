package campaign

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// vitals are where a leak would show: of the process and of what it has elsewhere.
type vitals struct {
	goroutines, files, memory, backends, temporary int64
}

// String returns the figures in words.
func (v vitals) String() string {
	return fmt.Sprintf("%d goroutines, %d files, %d MB, %d backends, %d temporary files", v.goroutines, v.files, v.memory>>20, v.backends, v.temporary)
}

// clinic takes the vitals of a program that answers for its metrics.
type clinic struct {
	address string // of the metrics
	folder  string // of temporary files
	taken   []vitals
}

// newClinic has an address and a folder that the program is to be given.
func newClinic(t testing.TB) *clinic {
	t.Helper()
	return &clinic{address: fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)), folder: t.TempDir()}
}

// line is that of the pipeline's file, prefix what the program is started by.
func (c *clinic) line() string     { return fmt.Sprintf("monitoring: {listen: %q}", c.address) }
func (c *clinic) prefix() []string { return []string{"env", "TMPDIR=" + c.folder} }

// take takes them once. A process that has just been started has none.
func (c *clinic) take(a *arena) error {
	p := a.programs[0].process()
	v := vitals{memory: p.resident()}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	temporary, err := os.ReadDir(c.folder)
	if err != nil {
		return err
	}
	v.files, v.temporary = int64(len(files)), int64(len(temporary))
	if v.goroutines, err = c.metric(a.t.Context(), "go_goroutines"); err != nil {
		return err
	}
	for _, url := range []string{a.source.URL("postgres"), a.target.URL("postgres")} {
		rows, err := query(a.t.Context(), url, "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'entrain%'")
		n := int64(0)
		if err == nil {
			_, err = fmt.Sscan(rows[0][0], &n)
		}
		if err != nil {
			return err
		}
		v.backends += n
	}
	c.taken = append(c.taken, v)
	return nil
}

// metric is one number of the program's.
func (c *clinic) metric(ctx context.Context, name string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if text, found := strings.CutPrefix(lines.Text(), name+" "); found {
			value := 0.0
			_, err := fmt.Sscan(text, &value)
			return int64(value), err
		}
	}
	return 0, fmt.Errorf("there is no metric %s", name)
}

// fewVitals are too few to compare early ones with late ones.
const fewVitals = 9

// judge compares the last third with the first one: the middle one of each figure.
func (c *clinic) judge(a *arena) {
	t := a.t
	t.Helper()
	n := len(c.taken)
	if n < fewVitals {
		a.trial.note(t, "vitals were taken %d times, too few to tell", n)
		if a.trial.Length >= 10*time.Minute {
			t.Errorf("vitals were taken %d times only", n)
		}
		return
	}
	early, late := middle(c.taken[:n/3]), middle(c.taken[n-n/3:])
	a.trial.note(t, "vitals, taken %d times: at first %s, at last %s", n, early, late)
	for _, grown := range []struct {
		what                 string
		early, late, allowed int64
	}{
		{"goroutines", early.goroutines, late.goroutines, 10},
		{"open files", early.files, late.files, 8},
		{"bytes of memory", early.memory, late.memory, 32<<20 + early.memory/4},
		{"backends", early.backends, late.backends, 3},
		{"temporary files", early.temporary, late.temporary, 2},
	} {
		if grown.late > grown.early+grown.allowed {
			t.Errorf("%d %s, later %d", grown.early, grown.what, grown.late)
		}
	}
}

// middle is the median of each figure.
func middle(all []vitals) vitals {
	of := func(figure func(v vitals) int64) int64 {
		var values []int64
		for _, v := range all {
			values = append(values, figure(v))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return vitals{
		of(func(v vitals) int64 { return v.goroutines }), of(func(v vitals) int64 { return v.files }), of(func(v vitals) int64 { return v.memory }),
		of(func(v vitals) int64 { return v.backends }), of(func(v vitals) int64 { return v.temporary }),
	}
}

// resident returns the memory that the process has now, in bytes; 0 once it has ended.
func (p *process) resident() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}
