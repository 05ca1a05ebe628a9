// Command write prints the list of parts of the program that it is given, as CycloneDX in
// JSON: make supply.
package main

import (
	"fmt"
	"os"

	"github.com/entrainsync/entrain/internal/sbom"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: write PROGRAM")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	d, err := sbom.Read(path)
	if err != nil {
		return err
	}
	text, err := d.Text()
	if err == nil {
		_, err = os.Stdout.Write(text)
	}
	return err
}
