package store

import (
	"fmt"
	"path/filepath"

	"github.com/entrainsync/entrain"
)

// FILE in a command stands for the pipeline's file; the command line puts it in.

func locked(folder, name, pid string) error {
	who := "another process"
	if pid != "" {
		who = "process " + pid
	}
	return &entrain.Stop{
		Code: "state_locked",
		What: fmt.Sprintf("the state of pipeline %s in %s is in use by %s", name, folder, who),
		Why:  "two processes that run one pipeline would write every change twice",
		Next: "entrain status FILE   # and stop the running process before starting another",
	}
}

func corrupt(path, name string, cause error) error {
	return &entrain.Stop{
		Code: "state_corrupt",
		What: fmt.Sprintf("the state file %s of pipeline %s is damaged", path, name),
		Why:  "it was cut short or changed by something other than entrain; with a guessed position changes would be lost or doubled",
		Next: startOver(path),
		Err:  cause,
	}
}

func foreign(path, name, owner string) error {
	return &entrain.Stop{
		Code: "state_foreign",
		What: fmt.Sprintf("the state file %s belongs to pipeline %q, not to %q", path, owner, name),
		Why:  "the pipeline or its folder was renamed or copied; the position of one pipeline means nothing to another",
		Next: fmt.Sprintf("set \"name: %s\" in the pipeline file again, or: %s", owner, startOver(path)),
	}
}

func tooNew(path, version string) error {
	return &entrain.Stop{
		Code: "state_version",
		What: fmt.Sprintf("the state file %s has format %s, this program knows format %d", path, version, format),
		Why:  "a newer entrain wrote it",
		Next: "run the newer entrain again, or: " + startOver(path),
	}
}

// startOver is the command that puts the state aside. The source then starts
// where it has confirmed.
func startOver(path string) string {
	return fmt.Sprintf("restore %s from a backup, or start over without it: mv %q %q",
		filepath.Base(path), path, path+".damaged")
}
