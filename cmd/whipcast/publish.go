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
	simulcast := flags.Bool("simulcast", false, "")
	flags.Usage = func() {
		_, _ = io.WriteString(std.out, `Usage: whipcast publish --url WHIP_URL [--token TOKEN] [--simulcast]

Publishes the test source, a clock with a flash and a beep each second, to any
WHIP server, and comes back when the connection is lost. Ctrl-C ends it.

  --url WHIP_URL   the server's WHIP endpoint, such as http://localhost:8080/whip/test
  --token TOKEN    its bearer token
  --simulcast      send the picture in three sizes at once, as OBS does
`)
	}
	if err := parse(flags, args); err != nil {
		return err
	}
	if *url == "" {
		return usageError{"publish needs --url WHIP_URL"}
	}
	source := testsource.Config{URL: *url, Token: *token, Say: func(line string) {
		_, _ = fmt.Fprintf(std.out, "%s %s\n", time.Now().Format(time.TimeOnly), line)
	}}
	if *simulcast {
		source.Simulcast = &testsource.Simulcast{}
	}
	return testsource.Run(ctx, source)
}
