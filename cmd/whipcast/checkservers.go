package main

import (
	"context"
	"fmt"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/api/webhook"
	"github.com/whipcast/whipcast/internal/check"
)

// serverChecks try the operator's servers that the gateway asks and tells things.
func (s subject) serverChecks() []check.Check {
	var all []check.Check
	try := func(name string, look func(ctx context.Context) check.Finding) {
		all = append(all, check.Check{Name: name, Timeout: portTime, Run: func(ctx context.Context) []check.Finding {
			return []check.Finding{look(ctx)}
		}})
	}
	if issuer, err := authJWKS(s.config.Auth.JWKS); err == nil && issuer != nil { // what is wrong with it the configuration says
		try("auth.jwks", func(ctx context.Context) check.Finding {
			at := issuer.URL
			if at == "" {
				at = issuer.Issuer
			}
			keys, err := issuer.Try(ctx)
			return check.KeySet("auth.jwks", check.Answer{URL: at, Err: err}, keys)
		})
	}
	if hook := s.config.Auth.Webhook; hook.URL != "" {
		try("auth.webhook", func(ctx context.Context) check.Finding {
			status, err := auth.Webhook{URL: hook.URL, Secret: hook.Secret}.Try(ctx)
			return check.Decider("auth.webhook", check.Answer{URL: hook.URL, Status: status, Err: err})
		})
	}
	for i, hook := range s.config.Webhooks {
		name := fmt.Sprintf("webhook-%d", i+1)
		try(name, func(ctx context.Context) check.Finding {
			status, err := webhook.Try(ctx, webhook.Hook{Name: name, URL: hook.URL, Secret: hook.Secret})
			return check.Receiver(name, check.Answer{URL: hook.URL, Status: status, Err: err})
		})
	}
	return all
}
