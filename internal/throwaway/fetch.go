package throwaway

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// maxDownload bounds a download.
const maxDownload = 1 << 30

// parallel is how many downloads run at once.
const parallel = 4

// fetchTries is how often a download is begun before its error counts.
const fetchTries = 3

// mostRedirects is how often a server may lead elsewhere.
const mostRedirects = 5

// mavenCentral is where artifacts come from, unless ENTRAIN_MAVEN names a
// mirror: a URL, or file:// and the path of a local Maven repository.
const mavenCentral = "https://repo1.maven.org/maven2"

// Artifact is one pinned download from a Maven repository.
type Artifact struct {
	// Path of the file below the repository's root.
	Path string
	// SHA256 of its content in hex.
	SHA256 string
}

// Artifacts reads a list as sha256sum writes it: a line an artifact, checksum
// and path.
func Artifacts(list string) ([]Artifact, error) {
	var all []Artifact
	lines := bufio.NewScanner(strings.NewReader(list))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) != 2 {
			return nil, fmt.Errorf("line %q is not a checksum and a path", lines.Text())
		}
		if b, err := hex.DecodeString(fields[0]); err != nil || len(b) != sha256.Size {
			return nil, fmt.Errorf("line %q does not begin with a SHA-256", lines.Text())
		}
		all = append(all, Artifact{Path: fields[1], SHA256: fields[0]})
	}
	return all, lines.Err()
}

// URL returns the address of the artifact.
func (a Artifact) URL() string {
	base := os.Getenv("ENTRAIN_MAVEN")
	if base == "" {
		base = mavenCentral
	}
	return strings.TrimSuffix(base, "/") + "/" + a.Path
}

// Download replaces the content of w by the artifact, trying again when the
// transport fails. A content with another checksum is an error and final.
func (a Artifact) Download(ctx context.Context, w *os.File) error {
	client := fetchClient()
	defer client.CloseIdleConnections()
	var err error
	for try := range fetchTries {
		if err := pause(ctx, time.Duration(try)*time.Second); err != nil {
			return err
		}
		var sum string
		if sum, err = get(ctx, client, a.URL(), w); err != nil {
			continue
		}
		if sum != a.SHA256 {
			return fmt.Errorf("sha256 of the download is %s, want %s: not used", sum, a.SHA256)
		}
		return nil
	}
	return err
}

// DownloadAll puts the artifacts into dir, each under its own name, several at
// once. The first error ends it and says which artifact it was.
func DownloadAll(ctx context.Context, all []Artifact, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan Artifact)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for a := range work {
				if err := a.into(ctx, dir); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, a := range all {
		work <- a
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// into puts the artifact into dir.
func (a Artifact) into(ctx context.Context, dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, path.Base(a.Path)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(a.Download(ctx, f), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", a.URL(), err)
	}
	return nil
}

// Temporary downloads the artifact into a temporary file, calls use with it
// and its size, and removes it.
func (a Artifact) Temporary(ctx context.Context, use func(f *os.File, size int64) error) error {
	f, err := os.CreateTemp("", "entrain-fetch-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := a.Download(ctx, f); err != nil {
		return err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	return use(f, size)
}

// fetchClient also reads file:// addresses, for local mirrors; nobody else can lead to
// one.
func fetchClient() *http.Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &http.Client{Transport: transport, Timeout: 10 * time.Minute, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if next.URL.Scheme == "file" || len(before) > mostRedirects {
			return fmt.Errorf("the server leads to %s", next.URL.Redacted())
		}
		return nil
	}}
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
	n, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(resp.Body, maxDownload))
	if err != nil {
		return "", err
	}
	if n == maxDownload {
		return "", fmt.Errorf("more than %d bytes", maxDownload)
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
