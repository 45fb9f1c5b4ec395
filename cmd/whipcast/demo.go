package main

import (
	"context"
	"fmt"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/internal/testsource"
)

// demoStream is what the demo's test source publishes to.
const demoStream = "demo"

// runDemo is the gateway together with a publisher, which reaches it by WHIP over
// loopback as any other would.
func runDemo(ctx context.Context, args []string, std stdio, environ []string) error {
	var simulcast bool
	config, err := loadConfig("demo", args, std, environ,
		option{name: "simulcast", help: "the test source sends its picture in three sizes", value: &simulcast})
	if err != nil {
		return err
	}
	if host := config.HTTP.TLS.ACMEHost; host != "" {
		return &configs.Error{
			Key: "http.tls.acme_host", Value: host, Cause: "the demo's test source publishes by loopback, which gets no certificate",
			Remedy: "use whipcast serve, and whipcast publish --url https://" + host + "/whip/demo",
		}
	}
	g, err := openGateway(ctx, config, std.err)
	if err != nil {
		return err
	}
	links := g.links()
	if err := links.writeDemo(std.out); err != nil {
		g.close()
		return fmt.Errorf("print links: %w", err)
	}
	source := testsource.Config{
		URL: links.loopback + "/whip/" + demoStream, Token: g.secret.token, Certificate: g.certificate(),
	}
	if simulcast {
		source.Simulcast = &testsource.Simulcast{}
	}
	g.add("test source", func(ctx context.Context) error {
		source.Say = func(line string) { g.log.InfoContext(ctx, "test source", "says", line) }
		return testsource.Run(ctx, source)
	})
	return g.run(ctx)
}
