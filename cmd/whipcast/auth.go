package main

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/whipcast/whipcast/api"
	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/egress/hls"
	"github.com/whipcast/whipcast/internal/rtc"
)

// openAuth makes the Authority of a configuration. token is the publish token.
func openAuth(config configs.Config, token string, all auth.Stages, log *slog.Logger) (*auth.Authority, error) {
	fail := func(err error) (*auth.Authority, error) {
		return nil, &configs.Error{Key: "data_dir", Value: config.DataDir, Cause: err.Error(), Remedy: "let this user read the file, or mend it"}
	}
	keys, err := authKeys(config.Auth.Keys)
	if err != nil {
		return fail(err)
	}
	issuer, err := authJWKS(config.Auth.JWKS)
	if err != nil {
		return fail(err)
	}
	cfg := auth.Config{
		Token: token, Watch: auth.Watch(config.Auth.Watch), Keys: keys, JWKS: issuer,
		Folder: auth.Folder(config.DataDir), Stages: all, Logger: log,
	}
	if hook := config.Auth.Webhook; hook.URL != "" {
		cfg.Webhook = &auth.Webhook{URL: hook.URL, Secret: hook.Secret, Keep: hook.Keep}
	}
	authority, err := auth.New(cfg)
	if err != nil {
		return fail(err)
	}
	return authority, nil
}

func authKeys(list []configs.Key) ([]auth.Key, error) {
	var keys []auth.Key
	for _, k := range list {
		actions, err := auth.ParseActions(k.Actions...)
		if err != nil {
			return nil, err
		}
		streams, err := auth.ParsePatterns(k.Streams...)
		if err != nil {
			return nil, err
		}
		keys = append(keys, auth.Key{Name: k.Name, Hash: k.Hash, Actions: actions, Streams: streams})
	}
	return keys, nil
}

func authJWKS(config configs.JWKS) (*auth.JWKS, error) {
	if config.Issuer == "" {
		return nil, nil //nolint:nilnil // none
	}
	j := &auth.JWKS{
		Issuer: config.Issuer, Audience: config.Audience, URL: config.URL,
		Principal: config.Principal, Actions: config.Actions, Streams: config.Streams, Words: map[string]auth.Action{},
	}
	for word, name := range config.Words {
		action, err := auth.ParseActions(name)
		if err != nil {
			return nil, err
		}
		j.Words[word] = action
	}
	var err error
	if len(config.DefaultActions) > 0 {
		if j.DefaultActions, err = auth.ParseActions(config.DefaultActions...); err != nil {
			return nil, err
		}
	}
	if len(config.DefaultStreams) > 0 {
		if j.DefaultStreams, err = auth.ParsePatterns(config.DefaultStreams...); err != nil {
			return nil, err
		}
	}
	return j, nil
}

// allow returns the rule of a door for WebRTC sessions, which end when what let
// them in is revoked.
func allow(authority *auth.Authority, action auth.Action, protocol string) rtc.Authorize {
	return func(r *http.Request, stream string) (rtc.Caller, error) {
		grant, err := authority.Decide(r.Context(), auth.Ask(r, action, protocol, stream))
		if err != nil {
			return rtc.Caller{}, err
		}
		return rtc.Caller{Principal: grant.Principal, Many: auth.Shared(grant.Principal), Revoked: func() bool {
			return authority.Revoked(grant, stream) || !authority.Stands(grant, action, stream)
		}}, nil
	}
}

// allowWatch returns the rule of the origin, nil while everybody may watch: then
// shared caches may keep all answers.
func allowWatch(authority *auth.Authority, watch string) hls.Authorize {
	if watch == string(auth.Open) {
		return nil
	}
	return func(r *http.Request, stream string) (string, error) {
		grant, err := authority.Decide(r.Context(), auth.Ask(r, auth.Play, "hls", stream))
		return grant.Principal, err
	}
}

// mayReport returns the rule for reports of players: who may watch may report.
func mayReport(watch hls.Authorize) func(*http.Request, string) error {
	if watch == nil {
		return nil
	}
	return func(r *http.Request, stream string) error {
		_, err := watch(r, stream)
		return err
	}
}

// looksAfter returns the task that keeps an Authority up to date.
func looksAfter(authority *auth.Authority, sweeps ...func()) task {
	return task{"authorisation", func(ctx context.Context) error {
		return authority.Run(ctx, func() {
			for _, sweep := range sweeps {
				sweep()
			}
		})
	}}
}

// authMetrics lists what an Authority counts. No label tells of a token.
func authMetrics(authority *auth.Authority) []api.Metric {
	count := func(name, help string, read func(auth.Stats) uint64) api.Metric {
		return api.Metric{Name: name, Help: help, Total: true, Read: func() float64 { return float64(read(authority.Stats())) }}
	}
	return []api.Metric{
		count("whipcast_auth_refused_total", "Requests refused for lack of a good token.", func(s auth.Stats) uint64 { return s.Refused }),
		count("whipcast_auth_webhook_calls_total", "Questions to auth.webhook.", func(s auth.Stats) uint64 { return s.WebhookCalls }),
		count("whipcast_auth_webhook_errors_total", "Questions that it did not answer.", func(s auth.Stats) uint64 { return s.WebhookFailures }),
		count("whipcast_auth_jwks_errors_total", "Times that the key set of auth.jwks could not be had.", func(s auth.Stats) uint64 { return s.JWKSFailures }),
		{Name: "whipcast_auth_revocations", Help: "Revocations in force.", Read: func() float64 { return float64(authority.Stats().Revocations) }},
	}
}
