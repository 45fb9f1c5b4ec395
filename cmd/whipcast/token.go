package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/whipcast/whipcast/api/auth"
	"github.com/whipcast/whipcast/configs"
)

// tokenFlags are the flags of whipcast token that are no keys of the configuration.
type tokenFlags struct {
	publish, play []string // patterns of streams
	admin         bool
	ttl           time.Duration
	principal     string
	url           string
	key           string
	revoke        auth.Revocation
	rotate        bool
}

// runToken makes tokens and keys, and takes them back. It works on the files of the
// data directory, which a running gateway watches.
func runToken(_ context.Context, args []string, std stdio, environ []string) error {
	var f tokenFlags
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	f.register(flags)
	var line configLine
	line.register(flags)
	flags.Usage = func() { _, _ = io.WriteString(std.out, tokenHelp) }
	if err := parse(flags, args); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	config, err := configs.Load(line.path, environ, line.settings...)
	if err != nil {
		return err
	}
	folder := auth.Folder(config.DataDir)
	var text string
	switch {
	case f.rotate:
		text, err = rotate(folder)
	case f.revoking() == 1:
		text, err = revoke(folder, f.revoke)
	case f.key != "":
		text, err = f.makeKey()
	default:
		text, err = f.makeToken(folder, config)
	}
	if err == nil {
		_, err = io.WriteString(std.out, text)
	}
	return err
}

func (f *tokenFlags) register(flags *flag.FlagSet) {
	several := func(at *[]string) func(string) error {
		return func(s string) error {
			*at = append(*at, s)
			return nil
		}
	}
	flags.Func("publish", "", several(&f.publish))
	flags.Func("play", "", several(&f.play))
	flags.BoolVar(&f.admin, "admin", false, "")
	flags.DurationVar(&f.ttl, "ttl", time.Hour, "")
	flags.StringVar(&f.principal, "principal", "", "")
	flags.StringVar(&f.url, "url", "", "")
	flags.StringVar(&f.key, "key", "", "")
	flags.StringVar(&f.revoke.Token, "revoke", "", "")
	flags.StringVar(&f.revoke.Principal, "revoke-principal", "", "")
	flags.StringVar(&f.revoke.Stream, "revoke-stream", "", "")
	flags.BoolVar(&f.rotate, "rotate", false, "")
}

const tokenHelp = `Usage: whipcast token --publish STREAM | --play STREAM | --admin [--ttl 1h] [--config FILE]
       whipcast token --key NAME --publish STREAM | --play STREAM | --admin
       whipcast token --revoke TOKEN | --revoke-principal WHO | --revoke-stream STREAM
       whipcast token --rotate

Makes a token that the gateway with the same configuration accepts, and prints it
with the links that use it. It is the first line. The gateway need not run, and
need not be restarted.

  --publish STREAM      it may publish this stream; a * at the end stands for any rest
  --play STREAM         it may watch it; with --publish for the same stream, both
  --admin               it may use the API, and do everything else
  --ttl 1h              how long it is valid, at most 8784h
  --principal WHO       who it is for; tokens of one principal are revoked together,
                        and take over each other's streams
  --url URL             what links begin with, such as https://live.example.org

  --key NAME            makes a key that does not end instead, and its entry for
                        auth.keys; this needs a restart

  --revoke TOKEN        takes a token back, by itself or its id: it is refused from
                        now on, and sessions that it made end; or a key: key:NAME
  --revoke-principal WHO    all tokens that WHO got until now: user:WHO, or as shown
  --revoke-stream STREAM    all tokens made until now, for this stream
  --rotate              makes a new signing key. The seven before it still verify;
                        remove those that must not from signing_keys.json in data_dir

Keys of the configuration are flags as well: --data_dir DIR.
`

func (f *tokenFlags) revoking() int {
	n := 0
	for _, text := range []string{f.revoke.Token, f.revoke.Principal, f.revoke.Stream} {
		if text != "" {
			n++
		}
	}
	return n
}

// check finds command lines that ask for nothing, or for too much.
func (f *tokenFlags) check() error {
	grants := f.admin || len(f.publish) > 0 || len(f.play) > 0
	asked := f.revoking()
	if f.rotate {
		asked++
	}
	if grants {
		asked++
	}
	switch {
	case asked == 0 && f.key != "":
		return usageError{"token --key needs --publish STREAM, --play STREAM or --admin as well"}
	case asked != 1:
		return usageError{"token needs one of --publish STREAM, --play STREAM, --admin, --revoke TOKEN and --rotate"}
	case f.key != "" && !grants:
		return usageError{"token --key makes a key: it cannot be joined with --revoke or --rotate"}
	case len(f.publish) > 0 && len(f.play) > 0 && !slices.Equal(f.publish, f.play):
		return usageError{"token --publish and --play are for the same streams; make two tokens"}
	case f.ttl <= 0 || f.ttl > auth.MaxTTL:
		return usageError{fmt.Sprintf("token --ttl %v: use more than 0 and at most %v", f.ttl, auth.MaxTTL)}
	}
	return nil
}

// grant returns what the flags permit.
func (f *tokenFlags) grant() (auth.Grant, error) {
	g := auth.Grant{Principal: f.principal, Expires: time.Now().Add(f.ttl)}
	streams := f.publish
	if len(f.publish) > 0 {
		g.Actions |= auth.Publish
	}
	if len(f.play) > 0 {
		g.Actions |= auth.Play
		streams = f.play
	}
	if f.admin {
		g.Actions |= auth.Admin
	}
	if len(streams) == 0 {
		streams = []string{"*"}
	}
	var err error
	if g.Streams, err = auth.ParsePatterns(streams...); err != nil {
		return auth.Grant{}, usageError{"token: " + err.Error()}
	}
	return g, nil
}

func folderError(folder auth.Folder, err error) error {
	return &configs.Error{
		Key: "data_dir", Value: string(folder), Cause: err.Error(),
		Remedy: "run this as the gateway's user, with its --config FILE",
	}
}

func (f *tokenFlags) makeToken(folder auth.Folder, config configs.Config) (string, error) {
	g, err := f.grant()
	if err != nil {
		return "", err
	}
	keys, err := folder.SigningKeyring()
	if err != nil {
		return "", folderError(folder, err)
	}
	token, g, err := keys.Sign(g, time.Now())
	if err != nil {
		return "", err
	}
	base := f.url
	if base == "" {
		base = reach(config, configuredPort(config)).base
	}
	stream := string(g.Streams[0])
	if strings.HasSuffix(stream, "*") {
		stream = "STREAM"
	}
	l := links{base: strings.TrimSuffix(base, "/"), secret: secret{token: token}}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", token)
	row := l.rows(&b)
	_, until := auth.IDOf(token)
	row("May", strings.Join(g.Actions.Words(), " and ")+" "+patterns(g.Streams))
	row("Until", until.UTC().Format("2006-01-02 15:04:05 UTC"))
	row("For", g.Principal)
	row("Id", g.ID+"  (to revoke it)")
	b.WriteString("\n")
	if f.admin {
		row("Home", l.base+"/"+l.fragment())
		row("API", `curl -H "Authorization: Bearer TOKEN" `+l.base+"/v1/streams")
	}
	if len(f.publish) > 0 {
		row("OBS", "Settings, Stream, Service: WHIP")
		row("Server", l.base+"/whip/"+stream)
		row("Bearer Token", "the first line")
		row("Publish", l.base+"/publish/"+stream+l.fragment())
	}
	if len(f.play) > 0 {
		row("Watch", l.base+"/watch/"+stream+l.fragment())
		row("Seat", l.base+"/seat/"+stream+l.fragment())
		row("HLS", l.base+"/hls/~"+token+"/"+stream+"/index.m3u8")
		if config.Auth.Watch == string(auth.Open) {
			row("", "auth.watch is open: everybody may watch, and this token changes nothing")
		}
	}
	return b.String(), nil
}

func patterns(all []auth.Pattern) string {
	var words []string
	for _, p := range all {
		words = append(words, string(p))
	}
	return strings.Join(words, ", ")
}

func (f *tokenFlags) makeKey() (string, error) {
	g, err := f.grant()
	if err != nil {
		return "", err
	}
	if names, err := auth.ParsePatterns(f.key); err != nil || strings.HasSuffix(string(names[0]), "*") {
		return "", usageError{"token --key: name it with 1 to 64 letters, digits and . _ -"}
	}
	key := rand.Text() // at least 128 bits
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nAdd this to auth.keys of the configuration, and restart the gateway. The key is kept nowhere else:\n\n", key)
	fmt.Fprintf(&b, "    - name: %s\n      hash: %s\n      actions: [%s]\n", f.key, auth.Hash(key), strings.Join(g.Actions.Words(), ", "))
	var quoted []string
	for _, p := range g.Streams {
		quoted = append(quoted, `"`+string(p)+`"`)
	}
	fmt.Fprintf(&b, "      streams: [%s]\n", strings.Join(quoted, ", "))
	return b.String(), nil
}

func revoke(folder auth.Folder, r auth.Revocation) (string, error) {
	r.At = time.Now()
	r.Until = r.At.Add(auth.MaxTTL)
	what := "all tokens of " + r.Principal + " until now"
	switch {
	case r.Token != "":
		var expires time.Time
		if r.Token, expires = auth.IDOf(r.Token); !expires.IsZero() {
			r.Until = expires.Add(time.Hour) // other clocks are no better than that
		}
		what = r.Token
	case r.Stream != "":
		what = "all tokens until now for " + r.Stream
	case !strings.Contains(r.Principal, ":"):
		r.Principal = "user:" + r.Principal
		what = "all tokens of " + r.Principal + " until now"
	}
	if err := folder.Append(r); err != nil {
		return "", folderError(folder, err)
	}
	return "Revoked " + what + ". A running gateway sees it within two seconds and ends the sessions.\n", nil
}

func rotate(folder auth.Folder) (string, error) {
	if _, err := folder.Rotate(); err != nil {
		return "", folderError(folder, err)
	}
	return "A new key signs from now on. Tokens made before stay valid.\n", nil
}
