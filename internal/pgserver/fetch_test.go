package pgserver

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ulikunitz/xz"
)

// jar makes a jar as the pinned ones are, of the members given.
func jar(t *testing.T, members ...tar.Header) []byte {
	t.Helper()
	var packed bytes.Buffer
	compressed, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(compressed)
	for _, m := range members {
		content := []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 15.19'\n")
		if m.Typeflag == tar.TypeReg {
			m.Size = int64(len(content))
		}
		if err := archive.WriteHeader(&m); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(content[:m.Size]); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{archive, compressed} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return zipOf(t, "postgres-linux-x86_64.txz", packed.Bytes())
}

func zipOf(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// programsJar is a good jar.
func programsJar(t *testing.T) []byte {
	return jar(t,
		tar.Header{Name: "./bin/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "bin/postgres", Typeflag: tar.TypeReg, Mode: 0o700},
		tar.Header{Name: "bin/initdb", Typeflag: tar.TypeReg, Mode: 0o755},
		tar.Header{Name: "share/deep/file", Typeflag: tar.TypeReg, Mode: 0o600},
		tar.Header{Name: "lib/libpq.so", Typeflag: tar.TypeSymlink, Linkname: "libpq.so.5"},
	)
}

// mirror serves content as every jar and pins version 15 to sum for the test.
// The cache is empty.
func mirror(t *testing.T, sum string, serve http.HandlerFunc) (cache string) {
	t.Helper()
	srv := httptest.NewServer(serve)
	t.Cleanup(srv.Close)
	cache, err := os.MkdirTemp("", "pgserver-cache-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(cache) })
	if err := os.Chmod(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ENTRAIN_CACHE", cache)
	t.Setenv("ENTRAIN_MAVEN", srv.URL)
	kept := artifacts
	t.Cleanup(func() { artifacts = kept })
	artifacts = nil
	for _, a := range kept {
		a.sha256 = sum
		artifacts = append(artifacts, a)
	}
	return cache
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestFetchUnpacksIntoTheCacheOnce(t *testing.T) {
	content := programsJar(t)
	var served atomic.Int32
	cache := mirror(t, sumOf(content), func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if !strings.HasSuffix(r.URL.Path, ".jar") || !strings.Contains(r.URL.Path, "/io/zonky/test/postgres/") {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Write(content)
	})
	for range 2 {
		install, err := Fetch(t.Context(), 15)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(cache, "postgres", "15.19.0", "bin"); install.Bin != want || install.Version != "15.19" {
			t.Errorf("Fetch = %+v, want version 15.19 in %s", install, want)
		}
	}
	if n := served.Load(); n != 1 {
		t.Errorf("downloaded %d times, want once", n)
	}
	for name, want := range map[string]os.FileMode{
		"bin": os.ModeDir | 0o755, "bin/postgres": 0o755, "share/deep/file": 0o644,
	} {
		info, err := os.Stat(filepath.Join(cache, "postgres", "15.19.0", name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestFetchRefusesAWrongChecksum(t *testing.T) {
	var served atomic.Int32
	cache := mirror(t, strings.Repeat("0", 64), func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.Write(programsJar(t))
	})
	_, err := Fetch(t.Context(), 15)
	if err == nil || !strings.Contains(err.Error(), "sha256") || !strings.Contains(err.Error(), "not used") {
		t.Errorf("Fetch of a jar with another checksum: %v", err)
	}
	if n := served.Load(); n != 1 {
		t.Errorf("a wrong checksum was tried %d times, want once", n)
	}
	left, err := os.ReadDir(filepath.Join(cache, "postgres"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in the cache: %v (%v), want nothing", left, err)
	}
}

func TestFetchTriesAgain(t *testing.T) {
	content := programsJar(t)
	var served atomic.Int32
	mirror(t, sumOf(content), func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1) == 1 {
			w.Header().Set("Content-Length", "1000000")
			w.Write(content[:10]) // the connection breaks in the middle
			return
		}
		w.Write(content)
	})
	if _, err := Fetch(t.Context(), 15); err != nil {
		t.Error(err)
	}
}

func TestFetchNamesTheAddressThatFailed(t *testing.T) {
	mirror(t, "", http.NotFound)
	_, err := Fetch(t.Context(), 15)
	if err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), ".jar") {
		t.Errorf("Fetch from a server that has nothing: %v", err)
	}
	if _, err := Fetch(t.Context(), 13); err == nil || !strings.Contains(err.Error(), "13") {
		t.Errorf("Fetch(13) = %v, want an error that names the version", err)
	}
}

func TestUnpackRefusesHostileArchives(t *testing.T) {
	for name, content := range map[string][]byte{
		"a path out of the folder": jar(t, tar.Header{Name: "../out", Typeflag: tar.TypeReg, Mode: 0o644}),
		"a path through a link": jar(t,
			tar.Header{Name: "link", Typeflag: tar.TypeSymlink, Linkname: ".."},
			tar.Header{Name: "link/out", Typeflag: tar.TypeReg, Mode: 0o644}),
		"a device":      jar(t, tar.Header{Name: "dev", Typeflag: tar.TypeChar}),
		"no archive":    zipOf(t, "readme", []byte("x")),
		"no xz":         zipOf(t, "a.txz", []byte("not xz")),
		"no zip at all": []byte("not zip"),
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unpackJar(bytes.NewReader(content), int64(len(content)), dir); err == nil {
			t.Errorf("%s: unpacked without an error", name)
		}
		if _, err := os.Stat(filepath.Join(parent, "out")); err == nil {
			t.Errorf("%s: a file was written outside", name)
		}
	}
}

func TestEveryArtifactIsPinned(t *testing.T) {
	for _, a := range artifacts {
		if b, err := hex.DecodeString(a.sha256); err != nil || len(b) != sha256.Size {
			t.Errorf("%s %s: sha256 %q", a.platform, a.version, a.sha256)
		}
	}
	t.Setenv("ENTRAIN_MAVEN", "")
	if url := artifacts[0].jar().URL(); !strings.HasPrefix(url, "https://repo1.maven.org/maven2/io/zonky/") {
		t.Errorf("address %s", url)
	}
}
