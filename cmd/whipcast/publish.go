package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/whipcast/whipcast/internal/testsource"
)

// runPublish publishes the test source until it is told to end.
func runPublish(ctx context.Context, args []string, std stdio, _ []string) error {
	flags := flag.NewFlagSet("publish", flag.ContinueOnError)
	url := flags.String("url", "", "")
	token := flags.String("token", "", "")
	flags.Usage = func() {
		_, _ = io.WriteString(std.out, `Usage: whipcast publish --url WHIP_URL [--token TOKEN]

Publishes the test source, a clock with a flash and a beep each second, to any
WHIP server, and comes back when the connection is lost. Ctrl-C ends it.

  --url WHIP_URL   the server's WHIP endpoint, such as http://localhost:8080/whip/test
  --token TOKEN    its bearer token
`)
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	if *url == "" {
		return usageError{"publish needs --url WHIP_URL"}
	}
	return testsource.Run(ctx, testsource.Config{URL: *url, Token: *token, Say: func(line string) {
		_, _ = fmt.Fprintf(std.out, "%s %s\n", time.Now().Format(time.TimeOnly), line)
	}})
}
