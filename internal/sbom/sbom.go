// Package sbom writes down what a Go program is made of, in the form of CycloneDX: the
// modules that its build information names, with the checksums under which the go command
// took them. It says nothing that the program does not say of itself, and the same of the
// same program.
package sbom

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
)

// Document is a list of parts as CycloneDX 1.6 has it, in JSON.
type Document struct {
	BOMFormat   string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    Metadata    `json:"metadata"`
	Components  []Component `json:"components"`
}

// Metadata says what the list is about.
type Metadata struct {
	Component Component `json:"component"`
}

// Component is the program or a part of it.
type Component struct {
	Type       string     `json:"type"` // application or library
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl"`
	Hashes     []Hash     `json:"hashes,omitempty"`
	Properties []Property `json:"properties,omitempty"`
}

// Hash is a checksum: of the program's file, or of a module as go.sum has it (h1, in
// hexadecimal digits).
type Hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

// Property is a setting of the build, such as GOARCH.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Of makes the list of a program from its build information and the SHA-256 of its file, in
// hexadecimal digits. It is pure.
func Of(info *debug.BuildInfo, sum string) Document {
	program := module("application", &info.Main)
	program.Hashes = []Hash{{"SHA-256", sum}}
	for _, s := range info.Settings {
		program.Properties = append(program.Properties, Property{"go:build:" + s.Key, s.Value})
	}
	std := &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
	parts := []Component{module("library", std)}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, module("library", m))
	}
	slices.SortFunc(parts, func(a, b Component) int { return cmp.Compare(a.PURL, b.PURL) })
	return Document{BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: Metadata{program}, Components: parts}
}

func module(kind string, m *debug.Module) Component {
	c := Component{Type: kind, Name: m.Path, PURL: "pkg:golang/" + m.Path}
	if m.Version != "" && m.Version != "(devel)" {
		c.Version = m.Version
		c.PURL += "@" + strings.ReplaceAll(url.PathEscape(m.Version), "+", "%2B")
	}
	if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) > 0 {
		c.Hashes = []Hash{{"SHA-256", hex.EncodeToString(sum)}}
	}
	c.Ref = c.PURL
	return c
}

// Text is the document as a file has it.
func (d Document) Text() ([]byte, error) {
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}
