package pgserver

import (
	"archive/tar"
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/ulikunitz/xz"
)

// unpackJar unpacks the one .txz archive of a jar into dir.
func unpackJar(jar io.ReaderAt, size int64, dir string) error {
	archive, err := zip.NewReader(jar, size)
	if err != nil {
		return fmt.Errorf("open the jar: %w", err)
	}
	for _, f := range archive.File {
		if strings.HasSuffix(f.Name, ".txz") {
			return unpackMember(f, dir)
		}
	}
	return errors.New("the jar has no .txz archive in it")
}

func unpackMember(f *zip.File, dir string) error {
	member, err := f.Open()
	if err != nil {
		return fmt.Errorf("open %s in the jar: %w", f.Name, err)
	}
	defer member.Close()
	plain, err := xz.NewReader(member)
	if err != nil {
		return fmt.Errorf("decompress %s: %w", f.Name, err)
	}
	if err := untar(tar.NewReader(plain), dir); err != nil {
		return fmt.Errorf("unpack %s: %w", f.Name, err)
	}
	return nil
}

// untar writes the archive's files below dir, readable by everybody, programs
// executable too. No member
// can reach outside dir.
func untar(archive *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeMember(root, header, archive); err != nil {
			return fmt.Errorf("%s: %w", header.Name, err)
		}
	}
}

func writeMember(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(header.Linkname, name)
	case tar.TypeReg:
		return writeFile(root, name, content, header.FileInfo().Mode())
	default:
		return fmt.Errorf("member of unknown kind %q", header.Typeflag)
	}
}

func writeFile(root *os.Root, name string, content io.Reader, mode os.FileMode) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	open := os.FileMode(0o644)
	if mode&0o100 != 0 {
		open = 0o755
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(open), f.Close())
}
