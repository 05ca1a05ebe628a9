package house

import (
	"maps"
	"path"
	"slices"
	"strings"
)

const mapFile = "docs/design.md"

// untrueMap finds folders with Go code that are missing in the map, the first
// block of docs/design.md, and lines of it for folders that do not exist or have
// another line.
func untrueMap(t tree) []string {
	_, block, _ := strings.Cut(t.texts[mapFile], "```\n")
	block, _, _ = strings.Cut(block, "```")
	if block == "" {
		return nil
	}
	drawn := drawnFolders(block)
	exist := map[string]bool{}
	for name := range t.texts {
		for dir := path.Dir(name); !exist[dir]; dir = path.Dir(dir) {
			exist[dir] = true
		}
	}
	var found []string
	missing := map[string]bool{}
	for _, f := range t.files {
		if !slices.Contains(drawn, f.dir()) {
			missing[f.dir()] = true
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(missing)) {
		found = append(found, mapFile+": the map lacks "+dir)
	}
	for i, dir := range drawn {
		if slices.Contains(drawn[:i], dir) {
			found = append(found, mapFile+": the map has "+dir+" twice")
		}
		if !exist[dir] {
			found = append(found, mapFile+": the map has "+dir+", which does not exist")
		}
	}
	return found
}

// drawnFolders reads a drawn tree: each line is four characters a level, then
// the folder's name and what it is. The first is the root.
func drawnFolders(block string) []string {
	var folders, above []string
	for line := range strings.Lines(block) {
		text := strings.TrimLeft(line, "│├└─ ")
		name, _, isFolder := strings.Cut(text, "/")
		if !isFolder {
			continue
		}
		level := len([]rune(strings.TrimSuffix(line, text))) / 4
		if level == 0 {
			name = "."
		}
		above = append(above[:min(level, len(above))], name)
		folders = append(folders, path.Join(above...))
	}
	return folders
}
