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

// option is a flag of one command that is no key of the configuration: a switch,
// or, with an argument, what take reads.
type option struct {
	name, help string
	value      *bool
	argument   string // such as HOST:PORT
	take       func(text string) error
}

// loadConfig reads the command line, the file that it names, and the environment.
func loadConfig(name string, args []string, std stdio, environ []string, options ...option) (configs.Config, error) {
	line, err := parseConfigLine(name, args, std, options...)
	if err != nil {
		return configs.Config{}, err
	}
	return configs.Load(line.path, environ, line.settings...)
}

// configLine is what a command line says of the configuration.
type configLine struct {
	path     string // of the file; "" for none
	settings []configs.Setting
}

// register adds --config and a flag for each key of the configuration.
func (l *configLine) register(flags *flag.FlagSet) {
	flags.StringVar(&l.path, "config", "", "")
	for _, key := range configs.Keys() {
		flags.Func(key, "", func(value string) error {
			l.settings = append(l.settings, configs.Setting{Flag: "--" + key, Key: key, Value: value})
			return nil
		})
	}
}

func parseConfigLine(name string, args []string, std stdio, options ...option) (configLine, error) {
	var line configLine
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	line.register(flags)
	for _, o := range options {
		if o.take != nil {
			flags.Func(o.name, "", o.take)
		} else {
			flags.BoolVar(o.value, o.name, *o.value, "")
		}
	}
	flags.Usage = func() { writeConfigHelp(std.out, name, options) }
	return line, parse(flags, args)
}

// usage is how the option is written.
func (o option) usage() string {
	if o.argument == "" {
		return o.name
	}
	return o.name + " " + o.argument
}

func writeConfigHelp(w io.Writer, name string, options []option) {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: whipcast %s [--config FILE] [--KEY VALUE …]", name)
	for _, o := range options {
		fmt.Fprintf(&b, " [--%s]", o.usage())
	}
	b.WriteString("\n\n")
	for _, c := range commands() {
		if c.name == name {
			fmt.Fprintf(&b, "%s%s.\n", strings.ToUpper(c.summary[:1]), c.summary[1:])
		}
	}
	if name == "check" {
		b.WriteString(checkHelp)
	}
	for _, o := range options {
		fmt.Fprintf(&b, "\n  --%s   %s\n", o.usage(), o.help)
	}
	b.WriteString("\nFILE is YAML; configs/whipcast.yaml explains each key. WHIPCAST_ variables override it\n" +
		"(WHIPCAST_HTTP_ADDRESS for http.address), flags override both. Keys and defaults:\n\n")
	for _, line := range configs.Usage() {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	_, _ = io.WriteString(w, b.String())
}
