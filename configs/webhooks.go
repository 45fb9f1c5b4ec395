package configs

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Hook is a server that is told what happens.
type Hook struct {
	URL     string
	Secret  string   // signs what it is told; after "whsec_" it is base64
	Events  []string // types; none: all
	Streams []string // names; a * at the end stands for any rest. None: all
}

// maxHooks is the most servers that are told.
const maxHooks = 16

const hookExample = "[{url: https://example.org/events, secret: …}]"

// HookEvents returns the types of events that a Hook can ask for.
func HookEvents() []string {
	return []string{
		"stream.started", "stream.stopped", "stream.ended", "stream.degraded", "stream.recovered",
		"replay.ready", "storage.failing", "storage.recovered",
		"stage.changed", "seat.joined", "seat.left", "seat.state", "program.cut",
	}
}

// hooks reads a list of Hooks.
func hooks(at *[]Hook) func(string) *Error {
	return func(s string) *Error {
		var all []Hook
		err := entries(s, maxHooks, "write "+hookExample, func(n *yaml.Node) *Error {
			one, err := readHook(n)
			if err == nil && slices.ContainsFunc(all, func(o Hook) bool { return o.URL == one.URL }) {
				err = &Error{Cause: "url: another entry has it", Remedy: "make one entry of the two, with the events and streams of both"}
			}
			all = append(all, one)
			return err
		})
		if err == nil {
			*at = all
		}
		return err
	}
}

func readHook(n *yaml.Node) (Hook, *Error) {
	var h Hook
	fields, err := object(n, hookExample, "url", "secret", "events", "streams")
	if one := fields["streams"]; one != nil && one.Kind == yaml.ScalarNode && !empty(one) {
		fields["streams"] = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{one}}
	}
	for _, read := range []func() *Error{
		func() *Error { return scalar(fields, "url", &h.URL) },
		func() *Error { return scalar(fields, "secret", &h.Secret) },
		func() *Error { return several(fields, "events", &h.Events, checkHookEvent) },
		func() *Error { return several(fields, "streams", &h.Streams, checkPattern) },
		h.check,
	} {
		if err == nil {
			err = read()
		}
	}
	return h, err
}

func checkHookEvent(word string) *Error {
	var at string
	return oneOf(&at, HookEvents()...)(word)
}

func (h *Hook) check() *Error {
	const remedy = "make one, as by openssl rand -hex 32, and tell the server: it checks by it who sends"
	encoded, isEncoded := strings.CutPrefix(h.Secret, "whsec_")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case !isWeb(h.URL):
		return &Error{Cause: "url: not a URL", Remedy: "write one such as https://example.org/events"}
	case h.Secret == "":
		return &Error{Cause: "secret: not given", Remedy: remedy}
	case isEncoded && (err != nil || len(raw) < 16):
		return &Error{Cause: "secret: not 16 or more bytes in base64 after whsec_", Remedy: "copy it as a whole, or leave whsec_ out to use the text itself"}
	case len(h.Secret) < 16:
		return &Error{Cause: "secret: shorter than 16 characters", Remedy: remedy}
	case len(h.Streams) > 100:
		return &Error{Cause: fmt.Sprintf("streams: %d", len(h.Streams)), Remedy: "list at most 100 names or beginnings of names"}
	}
	return nil
}

func hooksText(at *[]Hook) func() string {
	return func() string {
		if len(*at) == 0 {
			return ""
		}
		var all []map[string]any
		for _, h := range *at {
			all = append(all, written(map[string]any{"url": h.URL, "secret": h.Secret, "events": h.Events, "streams": h.Streams}))
		}
		return marshal(all)
	}
}
