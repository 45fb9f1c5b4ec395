package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/check"
)

// maxSTUN is how many STUN servers are asked: two show a symmetric NAT.
const maxSTUN = 4

// checkHelp is what --help says besides the flags.
const checkHelp = `
It looks at the configuration, files, ports, certificate, media addresses and clock, and writes, reads and deletes a
small file at each place of storage. It takes a relay of each TURN server of media.turn.servers and gives it back.
It fetches the key set of auth.jwks, asks auth.webhook about a token that nobody has made, and sends each of webhooks
an event whipcast.check, which means nothing. Nobody else is asked but the STUN servers that --stun names. It may run
beside a gateway.

The exit code is 0 if all is fine or only warnings, 1 if something does not work, and 2 if the command line or the
configuration cannot be used, so that nothing was looked at.
`

// runCheck looks for what keeps a gateway of this configuration from working. Its
// error is told{1} if something does not work, and told{2} if the configuration
// cannot be used, so that nothing else was looked at.
func runCheck(ctx context.Context, args []string, std stdio, environ []string) error {
	var (
		asJSON  bool
		servers []string
	)
	line, err := parseConfigLine("check", args, std,
		option{
			name: "stun", argument: "HOST:PORT", help: "ask this STUN server how it sees this machine; a second --stun tells symmetric NATs",
			take: func(text string) error {
				servers = append(servers, text)
				if text == "" || len(servers) > maxSTUN {
					return fmt.Errorf("name one to %d servers", maxSTUN)
				}
				return nil
			},
		},
		option{name: "json", help: "print the findings as JSON", value: &asJSON})
	if err != nil {
		return err
	}
	out := forPeople
	if asJSON {
		out = forMachines
	}
	config, err := configs.Load(line.path, environ, line.settings...)
	if err != nil {
		trouble := []check.Check{{Name: "configuration", Run: func(context.Context) []check.Finding {
			return []check.Finding{configTrouble(err)}
		}}}
		if err := out(ctx, std.out, trouble); !errors.As(err, &told{}) {
			return err
		}
		return told{2}
	}
	s := subject{config: config, path: line.path, environ: environ, servers: servers}
	places, checks := s.places(ctx)
	defer places.close()
	return out(ctx, std.out, append(s.checks(), checks...))
}

// forPeople runs checks and prints what they find, as they find it. The error is
// told{1} if something does not work.
func forPeople(ctx context.Context, w io.Writer, checks []check.Check) error {
	p := check.NewPrinter(w)
	if isTerminal(w) {
		p = check.NewLivePrinter(w)
	}
	report := check.Run(ctx, checks, p.Show)
	return verdict(ctx, report, p.Sum(report))
}

// forMachines runs checks and prints one JSON document.
func forMachines(ctx context.Context, w io.Writer, checks []check.Check) error {
	report := check.Run(ctx, checks, nil)
	return verdict(ctx, report, writeJSON(w, report))
}

// verdict is the error of a report that was printed, with an error or without.
func verdict(ctx context.Context, report check.Report, printed error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("check: %w", ctx.Err())
	case printed != nil:
		return fmt.Errorf("print findings: %w", printed)
	case report.State() == check.Failed:
		return told{1}
	}
	return nil
}

func writeJSON(w io.Writer, report check.Report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(report)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	about, err := f.Stat()
	return err == nil && about.Mode()&os.ModeCharDevice != 0
}

// configTrouble says why a configuration cannot be used.
func configTrouble(err error) check.Finding {
	f := check.Finding{Name: "configuration", State: check.Failed, Cause: err.Error(), Remedy: "correct it: nothing else was looked at"}
	if e, ok := errors.AsType[*configs.Error](err); ok {
		f.Remedy = e.Remedy
		short := *e
		short.Remedy = ""
		f.Cause = short.Error()
	}
	return f
}
