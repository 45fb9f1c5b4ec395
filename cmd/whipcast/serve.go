package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/whipcast/whipcast/configs"
)

// runServe is the gateway.
func runServe(ctx context.Context, args []string, std stdio, environ []string) error {
	config, err := loadConfig("serve", args, std, environ)
	if err != nil {
		return err
	}
	g, err := openGateway(ctx, config, std.err)
	if err != nil {
		return err
	}
	if err := g.links().writeServe(std.out); err != nil {
		g.close()
		return fmt.Errorf("print links: %w", err)
	}
	return g.run(ctx)
}

// option is a flag of one command that is no key of the configuration.
type option struct {
	name, help string
	value      *bool
}

// loadConfig reads the command line, the file that it names, and the environment.
func loadConfig(name string, args []string, std stdio, environ []string, options ...option) (configs.Config, error) {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	path := flags.String("config", "", "")
	var settings []configs.Setting
	for _, key := range configs.Keys() {
		flags.Func(key, "", func(value string) error {
			settings = append(settings, configs.Setting{Flag: "--" + key, Key: key, Value: value})
			return nil
		})
	}
	for _, o := range options {
		flags.BoolVar(o.value, o.name, *o.value, "")
	}
	flags.Usage = func() { writeConfigHelp(std.out, name, options) }
	if err := parse(flags, args); err != nil {
		return configs.Config{}, err
	}
	return configs.Load(*path, environ, settings...)
}

func writeConfigHelp(w io.Writer, name string, options []option) {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: whipcast %s [--config FILE] [--KEY VALUE …]", name)
	for _, o := range options {
		fmt.Fprintf(&b, " [--%s]", o.name)
	}
	b.WriteString("\n\n")
	for _, c := range commands() {
		if c.name == name {
			fmt.Fprintf(&b, "%s%s.\n", strings.ToUpper(c.summary[:1]), c.summary[1:])
		}
	}
	for _, o := range options {
		fmt.Fprintf(&b, "\n  --%s   %s\n", o.name, o.help)
	}
	b.WriteString("\nFILE is YAML; configs/whipcast.yaml explains each key. WHIPCAST_ variables override it\n" +
		"(WHIPCAST_HTTP_ADDRESS for http.address), flags override both. Keys and defaults:\n\n")
	for _, line := range configs.Usage() {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	_, _ = io.WriteString(w, b.String())
}
