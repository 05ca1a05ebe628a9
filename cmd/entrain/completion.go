package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrainsync/entrain"
)

// complete teaches the shells what the commands take: pipeline files where
// their usage says FILE. The command "completion" itself is cobra's.
func complete(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		complete(cmd)
		if strings.Contains(cmd.Use, " FILE") {
			cmd.ValidArgsFunction = pipelineFiles
		}
	}
}

func pipelineFiles(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// codesOf offers the codes that check can find with the file on the command
// line.
func (p *program) codesOf(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	l, err := p.load(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return l.codes(), cobra.ShellCompDirectiveNoFileComp
}

// codes lists what check can find.
func (l *loaded) codes() []string {
	codes := append(hostCodes(), codeTransform, codeDeduplication)
	if l.log != nil {
		codes = append(codes, codeRenamed)
	}
	if l.hasClasses() {
		codes = append(codes, codeClassTables)
	}
	for _, end := range l.ends() {
		if checker, ok := end.(entrain.Checker); ok {
			codes = append(codes, checker.Codes()...)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}
