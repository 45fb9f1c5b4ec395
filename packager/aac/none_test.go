//go:build noaac

package aac_test

import (
	"errors"
	"testing"

	"github.com/whipcast/whipcast/packager/aac"
)

func TestBuiltWithoutEncoder(t *testing.T) {
	if tr, err := aac.New(aac.Config{}); !errors.Is(err, aac.ErrUnavailable) || tr != nil {
		t.Errorf("New gives %v and %v, want ErrUnavailable", tr, err)
	}
	if _, err := aac.New(aac.Config{Bitrate: 1}); !errors.Is(err, aac.ErrBitrate) {
		t.Errorf("New with 1 bit a second gives %v, want ErrBitrate", err)
	}
}
