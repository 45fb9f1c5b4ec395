package storage_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/whipcast/whipcast/storage"
)

func TestSecretIsNeverShown(t *testing.T) {
	const word = "hunter2hunter2"
	held := struct {
		Key string
		S   storage.Secret
	}{"a", word}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %q", held, held, held, held.S, held.S)
	slog.New(slog.NewTextHandler(&out, nil)).Info("config", "held", held, "secret", held.S)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("config", "held", held, "secret", held.S)
	if err := json.NewEncoder(&out).Encode(held); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), word) || strings.Count(out.String(), "(not shown)") < 9 {
		t.Errorf("shown:\n%s", out.String())
	}
}
