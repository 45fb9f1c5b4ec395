package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// stdio is where a command writes.
type stdio struct {
	out io.Writer // what was asked for: links, help
	err io.Writer // logs
}

// command is one subcommand. Its run returns nil when it ended as it should,
// also when ctx told it to.
type command struct {
	name    string
	summary string
	run     func(ctx context.Context, args []string, std stdio, environ []string) error
}

func commands() []command {
	return []command{
		{"demo", "run the gateway with a built-in test source and print every link", runDemo},
		{"serve", "run the gateway", runServe},
		{"check", "look for what keeps the gateway from working, and say what to do", runCheck},
		{"publish", "publish the test source to any WHIP server", runPublish},
		{"token", "make a token or a key that may publish or watch, or take one back", runToken},
		{"clip", "write a playlist over a part of a stream that is in storage", runClip},
		{"health", "ask the gateway on this machine whether it is ready", runHealth},
		{"completion", "print a script that completes commands in a shell", runCompletion},
		{"version", "print the version", runVersion},
	}
}

// usageError is a command line that cannot be understood.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text + "; see whipcast help" }

// told is the end of a command that has already said what is wrong.
type told struct{ code int }

func (e told) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func exitCode(err error) int {
	said, ok := errors.AsType[told](err)
	switch {
	case err == nil:
		return 0
	case ok:
		return said.code
	case errors.As(err, &usageError{}):
		return 2
	default:
		return 1
	}
}

// run is the program. It returns when the command is done or ctx has ended and
// everything that was started has stopped.
func run(ctx context.Context, args []string, std stdio, environ []string) error {
	if len(args) == 0 {
		writeHelp(std.err)
		return usageError{"no command"}
	}
	switch args[0] {
	case "help", "-h", "--help", "-help":
		return runHelp(ctx, args[1:], std, environ)
	case "--version", "-version":
		return runVersion(ctx, nil, std, environ)
	}
	for _, c := range commands() {
		if c.name == args[0] {
			err := c.run(ctx, args[1:], std, environ)
			if errors.Is(err, flag.ErrHelp) {
				return nil // the flag set wrote its help
			}
			return err
		}
	}
	return usageError{fmt.Sprintf("unknown command %q", args[0])}
}

// runHelp writes the list of commands, or the help of one.
func runHelp(ctx context.Context, args []string, std stdio, environ []string) error {
	if len(args) > 0 && args[0] != "help" {
		return run(ctx, []string{args[0], "--help"}, std, environ)
	}
	writeHelp(std.out)
	return nil
}

func writeHelp(w io.Writer) {
	var b strings.Builder
	b.WriteString("Whipcast takes WHIP publishers and serves them as low-latency HLS and WHEP.\n\nUsage: whipcast COMMAND [flags]\n\nCommands:\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.summary)
	}
	b.WriteString("\n\"whipcast help COMMAND\" tells the flags of a command.\n")
	_, _ = io.WriteString(w, b.String())
}

// runVersion prints the version, and what it was built by and for.
func runVersion(_ context.Context, args []string, std stdio, _ []string) error {
	if len(args) == 1 && (args[0] == "--help" || args[0] == "-h") {
		_, err := io.WriteString(std.out, "Usage: whipcast version\n\nPrints the version, what it was built by and for.\n")
		return err
	}
	if len(args) > 0 {
		return usageError{fmt.Sprintf("version takes no argument, not %q", args[0])}
	}
	_, err := fmt.Fprintf(std.out, "whipcast %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildVersion returns what the build was told, or what Go knows of it.
func buildVersion() string {
	if version != "" {
		return version
	}
	if build, ok := debug.ReadBuildInfo(); ok && build.Main.Version != "" {
		return build.Main.Version
	}
	return "(devel)"
}

// parse reads the flags of a command that takes no other arguments.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // errors are returned; help is written by Usage
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if err != nil {
		return usageError{fmt.Sprintf("%s: %v", flags.Name(), err)}
	}
	if flags.NArg() > 0 {
		return usageError{fmt.Sprintf("%s takes no argument, not %q", flags.Name(), flags.Arg(0))}
	}
	return nil
}
