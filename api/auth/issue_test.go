package auth

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// TestWithin: nobody gives away more than it has.
func TestWithin(t *testing.T) {
	now := time.Now()
	of := func(actions Action, expires time.Duration, streams ...Pattern) Grant {
		g := Grant{Actions: actions, Streams: streams}
		if expires > 0 {
			g.Expires = now.Add(expires)
		}
		return g
	}
	for _, tt := range []struct {
		name        string
		less, whole Grant
		want        bool
	}{
		{"all of it", of(Publish|Play|Admin, time.Hour, "*"), whole(), true},
		{"the same", of(Admin, time.Hour, "t*"), of(Admin, time.Hour, "t*"), true},
		{"a stream of a pattern", of(Publish, time.Hour, "ta"), of(Admin, time.Hour, "t*"), true},
		{"a narrower pattern", of(Play, time.Hour, "ta*"), of(Admin, 0, "t*"), true},
		{"a wider pattern", of(Play, time.Hour, "*"), of(Admin, 0, "t*"), false},
		{"a pattern of a name", of(Play, time.Hour, "t*"), of(Admin, 0, "t"), false},
		{"one stream too many", of(Play, time.Hour, "ta", "b"), of(Admin, 0, "t*"), false},
		{"another action", of(Publish, time.Hour, "t"), of(Play, 0, "t"), false},
		{"longer", of(Play, 2*time.Hour, "t"), of(Admin, time.Hour, "t"), false},
		{"for ever", of(Play, 0, "t"), of(Admin, time.Hour, "t"), false},
	} {
		if got := tt.less.Within(tt.whole); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestIssue: tokens of many at once all count, also the first ones of a new folder;
// what is revoked is listed.
func TestIssue(t *testing.T) {
	a, err := New(Config{Folder: Folder(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			token, g, err := a.Issue(Grant{Principal: "p", Actions: Publish, Streams: []Pattern{"a"}, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := a.Decide(t.Context(), Request{Action: Publish, Stream: "a", Token: token}); err != nil || got.ID != g.ID {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	all.Wait()
	if err := a.Revoke(Revocation{Stream: "a"}); err != nil {
		t.Fatal(err)
	}
	list, err := a.Revocations()
	if err != nil || len(list) != 1 || list[0].Stream != "a" {
		t.Errorf("%+v, %v", list, err)
	}
	if err := a.Revoke(Revocation{Token: ownerID}); !errors.Is(err, ErrRevocation) {
		t.Errorf("revoke the owner: %v", err)
	}
	none, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := none.Issue(Grant{}); !errors.Is(err, ErrNoFolder) {
		t.Errorf("without a folder: %v", err)
	}
}
