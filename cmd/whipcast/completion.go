package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// runCompletion prints a script that lets a shell complete commands and flags.
func runCompletion(ctx context.Context, args []string, std stdio, _ []string) error {
	const help = `Usage: whipcast completion bash|zsh|fish

Prints a script that completes commands and flags:

  bash   source <(whipcast completion bash)
  zsh    source <(whipcast completion zsh)
  fish   whipcast completion fish | source
`
	write := func(text string) error {
		_, err := io.WriteString(std.out, text)
		return err
	}
	if len(args) != 1 || strings.TrimLeft(args[0], "-") == "" {
		return usageError{"completion needs the name of a shell: bash, zsh or fish"}
	}
	if strings.HasPrefix(args[0], "-h") || args[0] == "--help" {
		return write(help)
	}
	flags := map[string][]string{}
	for _, c := range commands() {
		if c.name == "completion" {
			continue
		}
		var err error
		if flags[c.name], err = flagsOf(ctx, c); err != nil {
			return err
		}
	}
	switch args[0] {
	case "bash":
		return write(completeBash(flags))
	case "zsh": // which reads bash's
		return write("#compdef whipcast\nautoload -U +X compinit bashcompinit\ncompinit\nbashcompinit\n" + completeBash(flags))
	case "fish":
		return write(completeFish(flags))
	}
	return usageError{fmt.Sprintf("completion knows bash, zsh and fish, not %q", args[0])}
}

// flagsOf returns the flags that a command's help names, with their dashes.
func flagsOf(ctx context.Context, c command) ([]string, error) {
	var help strings.Builder
	err := c.run(ctx, []string{"--help"}, stdio{out: &help, err: &help}, nil)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return nil, fmt.Errorf("read help of %s: %w", c.name, err)
	}
	all := []string{"--help"}
	for _, word := range strings.FieldsFunc(help.String(), func(r rune) bool { return strings.ContainsRune(" \t\n[]|(),;", r) }) {
		if name, ok := strings.CutPrefix(word, "--"); ok && name != "" && name != "KEY" && !slices.Contains(all, word) {
			all = append(all, word)
		}
	}
	return all, nil
}

func completeBash(flags map[string][]string) string {
	var b strings.Builder
	b.WriteString("_whipcast() {\n\tlocal word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" list=\"\"\n" +
		"\tif [ \"$before\" = --config ]; then\n\t\tCOMPREPLY=($(compgen -f -- \"$word\"))\n\t\treturn\n\tfi\n" +
		"\tif [ \"$COMP_CWORD\" = 1 ]; then\n\t\tlist=\"help")
	for _, c := range commands() {
		b.WriteString(" " + c.name)
	}
	b.WriteString("\"\n\telse\n\t\tcase \"${COMP_WORDS[1]}\" in\n")
	for _, c := range commands() {
		list := strings.Join(flags[c.name], " ")
		if c.name == "completion" {
			list = "bash zsh fish"
		}
		fmt.Fprintf(&b, "\t\t%s) list=\"%s\" ;;\n", c.name, list)
	}
	b.WriteString("\t\tesac\n\tfi\n\tCOMPREPLY=($(compgen -W \"$list\" -- \"$word\"))\n}\ncomplete -F _whipcast whipcast\n")
	return b.String()
}

func completeFish(flags map[string][]string) string {
	var b strings.Builder
	b.WriteString("complete -c whipcast -f\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "complete -c whipcast -n __fish_use_subcommand -a %s -d '%s'\n", c.name, strings.ReplaceAll(c.summary, "'", `\'`))
		for _, name := range flags[c.name] {
			fmt.Fprintf(&b, "complete -c whipcast -n '__fish_seen_subcommand_from %s' -l %s\n", c.name, strings.TrimPrefix(name, "--"))
		}
	}
	b.WriteString("complete -c whipcast -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n" +
		"complete -c whipcast -n '__fish_contains_opt config' -F\n")
	return b.String()
}
