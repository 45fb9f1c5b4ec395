package recent_test

import (
	"fmt"
	"testing"

	"github.com/whipcast/whipcast/internal/recent"
)

// TestValues: the newest are there, the first value of a key stays, and there are never
// more than said.
func TestValues(t *testing.T) {
	texts := recent.New[string](3)
	for i := range 10 {
		texts.Put(fmt.Sprint(i), fmt.Sprint("text ", i))
		texts.Put(fmt.Sprint(i), "another")
		texts.Put("", "of nothing")
	}
	for i := range 10 {
		want := ""
		if i >= 7 {
			want = fmt.Sprint("text ", i)
		}
		if got := texts.Get(fmt.Sprint(i)); got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
	if got := texts.Get(""); got != "" {
		t.Errorf("of no key: %q", got)
	}
}
