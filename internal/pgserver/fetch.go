package pgserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// maxJar bounds a download: the jars have about 15 MB.
const maxJar = 128 << 20

// fetchTries is how often a download is begun before its error counts.
const fetchTries = 3

// Fetch returns server programs of the major version from the cache, after
// downloading them if they are not there. What is downloaded is used only if
// its SHA-256 is the one in the source; otherwise nothing is kept. Several
// processes may fetch the same version at once.
func Fetch(ctx context.Context, major int) (Install, error) {
	a, err := artifactFor(major)
	if err != nil {
		return Install{}, err
	}
	bin, err := cachedBin(major)
	if err != nil {
		return Install{}, err
	}
	err = fillOnce(filepath.Dir(bin), func(dir string) error { return a.install(ctx, dir) })
	if err != nil {
		return Install{}, fmt.Errorf("fetch PostgreSQL %s from %s: %w", a.version, a.url(), err)
	}
	install, err := inspect(ctx, bin)
	if err != nil {
		return Install{}, fmt.Errorf("use the fetched PostgreSQL %s: %w", a.version, err)
	}
	return install, nil
}

// Obtain returns server programs of the major version by [Find], else by
// [Fetch]; its error names what both tried. Major 0 takes any version that is
// found, and fetches a supported one if there is none.
func Obtain(ctx context.Context, major int) (Install, error) {
	install, missing := Find(ctx, major)
	if missing == nil {
		return install, nil
	}
	if major == 0 {
		major = defaultMajor
	}
	install, err := Fetch(ctx, major)
	if err != nil {
		return Install{}, errors.Join(missing, err)
	}
	return install, nil
}

// install downloads the artifact and unpacks it into dir.
func (a artifact) install(ctx context.Context, dir string) error {
	jar, err := os.CreateTemp("", "entrain-jar-")
	if err != nil {
		return err
	}
	defer os.Remove(jar.Name())
	defer jar.Close()
	if err := a.download(ctx, jar); err != nil {
		return err
	}
	size, err := jar.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return unpackJar(jar, size, dir)
}

// download writes the jar to w and checks it, trying again when the transport
// fails. A wrong checksum is final.
func (a artifact) download(ctx context.Context, w *os.File) error {
	client := fetchClient()
	defer client.CloseIdleConnections()
	var err error
	for try := range fetchTries {
		if err := pause(ctx, time.Duration(try)*time.Second); err != nil {
			return err
		}
		var sum string
		if sum, err = get(ctx, client, a.url(), w); err != nil {
			continue
		}
		if sum != a.sha256 {
			return fmt.Errorf("sha256 of the download is %s, want %s: not used", sum, a.sha256)
		}
		return nil
	}
	return err
}

// fetchClient also reads file:// addresses, for local mirrors.
func fetchClient() *http.Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &http.Client{Transport: transport, Timeout: 10 * time.Minute}
}

// get replaces the content of w by what url has, and returns its SHA-256.
func get(ctx context.Context, client *http.Client, url string, w *os.File) (string, error) {
	if err := errors.Join(w.Truncate(0), rewind(w)); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("server says %s", resp.Status)
	}
	hash := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(resp.Body, maxJar))
	if err != nil {
		return "", err
	}
	if n == maxJar {
		return "", fmt.Errorf("more than %d bytes", maxJar)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
