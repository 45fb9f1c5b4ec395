package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/whipcast/whipcast/configs"
	"github.com/whipcast/whipcast/replay"
	"github.com/whipcast/whipcast/stream"
)

const clipHelp = `Usage: whipcast clip STREAM FROM TO [--name NAME] [--storage N] [--config FILE] [--KEY VALUE …]

Writes a playlist over the media of a stream between two times that is in storage
already: nothing is copied. It is cut where segments are; players begin at FROM.
It works while the gateway runs and after, as the same user and with the same
configuration, for entries of storage whose keep is not live.

FROM and TO are dates (2026-11-20T18:00:00Z), now, -5m for five minutes ago, or
00:10:00 for ten minutes after the begin of the newest replay.

  --name NAME     of the clip, {stream}/clips/NAME/index.m3u8; by default its begin
  --storage N     only in the N-th entry of storage
  --config FILE   the gateway's; keys of it may be given as for serve
`

// clipOrder is a command line of clip.
type clipOrder struct {
	stream, from, to string
	name             string
	entry            int // 0: all
	config           configs.Config
}

// runClip makes a clip.
func runClip(ctx context.Context, args []string, std stdio, environ []string) error {
	order, err := readClip(args, std, environ)
	if err != nil {
		return err
	}
	now := time.Now()
	from, err := replay.ParseMoment(order.from, now)
	if err != nil {
		return usageError{"clip: " + err.Error()}
	}
	to, err := replay.ParseMoment(order.to, now)
	if err != nil {
		return usageError{"clip: " + err.Error()}
	}
	if order.entry > 0 {
		if order.entry > len(order.config.Storage) {
			return usageError{fmt.Sprintf("clip: --storage %d: the configuration has %d entries", order.entry, len(order.config.Storage))}
		}
		if order.config.Storage[order.entry-1].Keep == 0 {
			return usageError{fmt.Sprintf("clip: --storage %d keeps the live window only: set its keep to forever, or to a time such as 24h", order.entry)}
		}
		for i := range order.config.Storage {
			if i != order.entry-1 {
				order.config.Storage[i].Keep = 0
			}
		}
	}
	archive, all, err := openKept(ctx, order.config, newLog(order.config.Log, std.err))
	if err != nil {
		return err
	}
	defer all.close()
	clips, err := archive.Clip(ctx, replay.Request{Stream: order.stream, From: from, To: to, Name: order.name})
	if said := sayClips(std.out, clips); said != nil {
		return errors.Join(err, said)
	}
	return err
}

// sayClips says what was made.
func sayClips(w io.Writer, clips []replay.Clip) error {
	var b strings.Builder
	for _, c := range clips {
		const form = "2006-01-02T15:04:05.000Z"
		fmt.Fprintf(&b, "%s: %s\n  from %s to %s: %v in %d segments", c.Place, c.At, c.Begin.Format(form), c.End.Format(form),
			c.Duration.Round(time.Millisecond), c.Segments)
		if c.Start > 0 {
			fmt.Fprintf(&b, "; players begin %v later", c.Start.Round(time.Millisecond))
		}
		b.WriteByte('\n')
		if c.Gaps > 0 {
			fmt.Fprintf(&b, "  %d files of it are not there: the playlists say so\n", c.Gaps)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// readClip reads the command line. Arguments and flags may be mixed, and -5m is no
// flag.
func readClip(args []string, std stdio, environ []string) (clipOrder, error) {
	var order clipOrder
	flags := flag.NewFlagSet("clip", flag.ContinueOnError)
	path := flags.String("config", "", "")
	flags.StringVar(&order.name, "name", "", "")
	flags.Func("storage", "", func(value string) error { // not the key of the same name
		if n, err := fmt.Sscanf(value, "%d", &order.entry); n != 1 || err != nil || order.entry < 1 || fmt.Sprint(order.entry) != value {
			return errors.New("write the number of an entry of storage, from 1")
		}
		return nil
	})
	var settings []configs.Setting
	for _, key := range configs.Keys() {
		if flags.Lookup(key) != nil {
			continue
		}
		flags.Func(key, "", func(value string) error {
			settings = append(settings, configs.Setting{Flag: "--" + key, Key: key, Value: value})
			return nil
		})
	}
	flags.Usage = func() { _, _ = io.WriteString(std.out, clipHelp) }
	given, rest := splitArgs(args)
	if err := parse(flags, rest); err != nil {
		return order, err
	}
	if len(given) != 3 {
		return order, usageError{fmt.Sprintf("clip needs STREAM FROM TO, not %d arguments", len(given))}
	}
	order.stream, order.from, order.to = given[0], given[1], given[2]
	if !stream.ValidName(order.stream) {
		return order, usageError{fmt.Sprintf("clip: %.80q is no name of a stream", order.stream)}
	}
	if order.name != "" && !stream.ValidName(order.name) {
		return order, usageError{fmt.Sprintf("clip: %.80q is no name: use letters, digits and - . _, at most 64", order.name)}
	}
	var err error
	order.config, err = configs.Load(*path, environ, settings...)
	return order, err
}

// splitArgs tells arguments from flags. Each flag has a value, in the same word or
// in the next; but for those that ask for help.
func splitArgs(args []string) (given, flags []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name := strings.TrimLeft(arg, "-")
		switch {
		case name == arg, len(arg) > 1 && arg[0] == '-' && (arg[1] >= '0' && arg[1] <= '9' || arg[1] == '.'):
			given = append(given, arg)
		case strings.Contains(name, "=") || name == "h" || name == "help" || i+1 == len(args):
			flags = append(flags, arg)
		default:
			flags = append(flags, arg, args[i+1])
			i++
		}
	}
	return given, flags
}
