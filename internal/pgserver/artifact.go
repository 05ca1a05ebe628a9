package pgserver

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/entrainsync/entrain/internal/throwaway"
)

// artifact is one pinned download: the binaries that the zonky project builds
// for embedding and publishes on Maven Central. Each is a jar (a zip file) with
// one .txz archive of bin, lib and share in it.
type artifact struct {
	platform string // as the artifact's name has it: linux-amd64
	version  string // PostgreSQL's version and a build number
	sha256   string // of the jar
}

// artifacts is every download that entrain may make. A line changes only
// together with its checksum.
var artifacts = []artifact{
	{"linux-amd64", "14.24.0", "2722d05eb22c671104c9918d59d8ba9f5656898f5452a0207bb4cce21eef5dc4"},
	{"linux-amd64", "15.19.0", "95f0b66fe72d4ca66c815773c44cb1196ea38552463e89a35f18114b3ed1565f"},
	{"linux-amd64", "16.15.0", "653abc065c682b85d3da50168fb95dc524bd85426cdec9ce3695a550ef431df2"},
	{"linux-amd64", "17.11.0", "0dd7b72b6f335b8ecfb355fa24c5781e8a93edd09880bb77eb52ebbf29b3e96d"},
	{"linux-amd64", "18.6.0", "008ee189eaa7ca2b58bd01dd950291e638b998392cf982297acd4779ec898ac1"},
	{"linux-arm64v8", "15.19.0", "95baf4bd4af31b91b3050118df59388ed0064756b556b850669e0300aa7b9911"},
	{"linux-arm64v8", "16.15.0", "f846a9989d686b7977d6eca9bc9d8b2b69e3f70c7eb60e032197d9c574a6136c"},
	{"linux-arm64v8", "17.11.0", "8b042e0ea418b1927d95399207950da0734d27fe01e29503ade3bdc464ad4c2b"},
	{"linux-arm64v8", "18.6.0", "5f54e016723afa6213925a8acb939bac52944b1d348f65c7a20f0cd2928c31be"},
}

// platforms translates Go's names of a platform.
var platforms = map[string]string{
	"linux/amd64": "linux-amd64",
	"linux/arm64": "linux-arm64v8",
}

// artifactFor returns the download of the major version for this platform.
func artifactFor(major int) (artifact, error) {
	here := runtime.GOOS + "/" + runtime.GOARCH
	for _, a := range artifacts {
		if a.platform == platforms[here] && strings.HasPrefix(a.version, fmt.Sprintf("%d.", major)) {
			return a, nil
		}
	}
	return artifact{}, fmt.Errorf("no download of PostgreSQL %d for %s is known; next: install it with the system's package manager", major, here)
}

// jar is the download as one of a Maven repository.
func (a artifact) jar() throwaway.Artifact {
	name := "embedded-postgres-binaries-" + a.platform
	return throwaway.Artifact{
		Path:   fmt.Sprintf("io/zonky/test/postgres/%s/%s/%s-%s.jar", name, a.version, name, a.version),
		SHA256: a.sha256,
	}
}

// cachedBin returns where Fetch puts the programs of the major version.
func cachedBin(major int) (string, error) {
	a, err := artifactFor(major)
	if err != nil {
		return "", err
	}
	cache, err := throwaway.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "postgres", a.version, "bin"), nil
}
