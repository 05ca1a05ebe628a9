package campaign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/entrainsync/entrain/internal/kafkaserver/kafkatest"
	"github.com/entrainsync/entrain/internal/pgserver/pgtest"
	"github.com/entrainsync/entrain/internal/redisserver/redistest"
	"github.com/entrainsync/entrain/internal/registryserver/registrytest"
)

var (
	// binaryFolder holds the programs once they are built.
	binaryFolder = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "entrain-campaign-") })
	// binary is the program as it is shipped, built once for all tests.
	binary = sync.OnceValues(func() (string, error) { return build("entrain") })
	// failing is the same with failpoints that the environment sets off.
	failing = sync.OnceValues(func() (string, error) { return build("entrain-failpoint", "-tags", "failpoint") })
)

// build builds the program under a name.
func build(name string, flags ...string) (string, error) {
	dir, err := binaryFolder()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), "github.com/entrainsync/entrain/cmd/entrain")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// wide reports whether the large cases are to be run.
func wide() bool { return os.Getenv("ENTRAIN_TEST_WIDE") != "" }

// someMajor is the version for cases that do not depend on it.
func someMajor(t testing.TB) int { return pgtest.Majors(t)[0] }

// campaignMajors are the versions that long campaigns run on: one, but for the wide run.
func campaignMajors(t testing.TB) []int {
	all := pgtest.Majors(t)
	if wide() {
		return all
	}
	return all[:1]
}

// newestMajors is campaignMajors with the newest one, on which some of them run.
func newestMajors(t testing.TB) []int {
	if all := campaignMajors(t); len(all) > 1 {
		return all
	}
	all := pgtest.Majors(t)
	return all[len(all)-1:]
}

// Remove ends what campaigns share in this process: servers and the built binary. It
// is called once, behind the last one.
func Remove() error {
	dir, err := binaryFolder()
	return errors.Join(kafkatest.Remove(), redistest.Remove(), registrytest.Remove(), err, os.RemoveAll(dir))
}
