package httpput

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/whipcast/whipcast/storage"
)

// maxLoad bounds what Load reads.
const maxLoad = 1 << 20

// Swap implements storage.Swapper, by If-Match and If-None-Match (RFC 9110 §13.1).
// Many servers that take PUT do not heed them.
func (s *Sink) Swap(ctx context.Context, o storage.Object, version string) (string, error) {
	err := storage.CheckKey(o.Key)
	if version != "" && version[0] != '"' { // it is no entity tag
		err = errors.ErrUnsupported
	}
	var answer http.Header
	if err == nil {
		answer, err = s.swap(ctx, o, version)
	}
	e, ok := errors.AsType[*Error](err)
	if ok && mayLackFolder(e.Status) && s.cfg.MakeFolders {
		if err = s.makeFolders(ctx, path.Dir(o.Key)); err == nil {
			answer, err = s.swap(ctx, o, version)
		}
		e, ok = errors.AsType[*Error](err)
	}
	if ok && (e.Status == http.StatusPreconditionFailed || e.Status == http.StatusNotFound && version != "") {
		err = storage.ErrChanged
	}
	if err != nil {
		return "", fmt.Errorf("swap %s: %w", o.Key, err)
	}
	return strong(answer), nil
}

func (s *Sink) swap(ctx context.Context, o storage.Object, version string) (http.Header, error) {
	r, err := s.upload(ctx, o)
	if err != nil {
		return nil, err
	}
	if version == "" {
		r.Header.Set("If-None-Match", "*")
	} else {
		r.Header.Set("If-Match", version)
	}
	answer, _, err := s.exchange(r, 0)
	return answer, err
}

// strong returns the entity tag of an answer, "" if it has none that can be a
// condition (RFC 9110 §8.8.1).
func strong(answer http.Header) string {
	tag := answer.Get("ETag")
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}

// Load implements storage.Swapper.
func (s *Sink) Load(ctx context.Context, key string) (storage.Version, error) {
	err := ctx.Err()
	if err == nil {
		err = storage.CheckKey(key)
	}
	var v storage.Version
	if err == nil {
		v, err = s.load(ctx, key)
	}
	if e, ok := errors.AsType[*Error](err); ok && (e.Status == http.StatusNotFound || e.Status == http.StatusGone) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Version{}, fmt.Errorf("load %s: %w", key, err)
	}
	return v, nil
}

func (s *Sink) load(ctx context.Context, key string) (storage.Version, error) {
	r, err := s.request(ctx, http.MethodGet, key)
	if err != nil {
		return storage.Version{}, err
	}
	r.Header.Set("Cache-Control", "no-cache")
	answer, content, err := s.exchange(r, maxLoad)
	if err != nil {
		return storage.Version{}, err
	}
	v := storage.Version{
		Object: storage.Object{Key: key, Type: answer.Get("Content-Type"), Body: storage.Body{content}}, Tag: strong(answer), Age: -1,
	}
	if v.Tag == "" { // no condition is possible
		sum := sha256.Sum256(content)
		v.Tag = hex.EncodeToString(sum[:])
	}
	if changed, err := http.ParseTime(answer.Get("Last-Modified")); err == nil {
		v.Modified = changed
		if now, err := http.ParseTime(answer.Get("Date")); err == nil { // the server's clock, not ours
			v.Age = max(now.Sub(changed), 0)
		}
	}
	return v, nil
}

// exchange sends a request and returns the answer's fields and the first so many
// bytes of its body.
func (s *Sink) exchange(r *http.Request, most int64) (http.Header, []byte, error) {
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, nil, s.failure(r.Context(), err)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10))
	}
	switch {
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		failed := &Error{Host: s.base.Host, Status: answer.StatusCode, method: r.Method}
		if failed.permanent() {
			return nil, nil, storage.Permanent(failed)
		}
		return nil, nil, failed
	case err != nil:
		return nil, nil, s.failure(r.Context(), err)
	}
	return answer.Header, content, nil
}
