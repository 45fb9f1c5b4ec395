package storage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// This file has the half of the backlog that talks with the sink: what is tried
// next, and what a result means.

// behindAfter is how old what waits may be in a sink that keeps up.
const behindAfter = 6 * time.Second

// Pauses after failures.
const (
	pauseFirst   = 100 * time.Millisecond
	pauseMost    = 5 * time.Second
	refusedFirst = 2 * time.Second
	refusedMost  = 30 * time.Second
)

// next returns what is to be done now, and when it wants to be asked again at
// the latest: the zero time if only something new changes anything.
func (b *backlog) next(now time.Time) ([]job, time.Time) {
	b.wake, b.now = time.Time{}, now
	b.expire(now)
	jobs := b.nextClaims(now)
	passes := []func(time.Time, *folder) (job, bool){b.nextText, b.nextMedia}
	if b.down() && b.level%2 == 0 { // one of both may be what fails
		passes[0], passes[1] = passes[1], passes[0]
	}
	for _, pass := range passes {
		jobs = b.eachFolder(now, jobs, pass)
	}
	b.turn++
	jobs = b.checks(now, jobs)
	for b.removing < max(b.cfg.Workers/8, 1) && b.room(now) && !b.down() {
		j, ok := b.nextRemoval(now)
		if !ok {
			break
		}
		jobs = append(jobs, b.begin(now, j))
	}
	return append(jobs, b.spoolJobs(now)...), b.wake
}

// eachFolder appends what a pass finds in the folders, in turn.
func (b *backlog) eachFolder(now time.Time, jobs []job, pass func(time.Time, *folder) (job, bool)) []job {
	for i := range b.order {
		f := b.order[(b.turn+i)%len(b.order)]
		if !b.holds(f.stream(), now) {
			continue
		}
		for b.streams[f.stream()] < b.cfg.PerStream && b.room(now) {
			j, ok := pass(now, f)
			if !ok {
				break
			}
			jobs = append(jobs, b.begin(now, j))
		}
	}
	return jobs
}

// until makes sure that next is called at that time.
func (b *backlog) until(at time.Time) {
	if b.wake.IsZero() || at.Before(b.wake) {
		b.wake = at
	}
}

// room says whether one more may fly. A sink that is down gets one at a time,
// with pauses.
func (b *backlog) room(now time.Time) bool {
	switch {
	case !b.down():
		return b.flying < b.cfg.Workers
	case b.flying > 0:
		return false
	case now.Before(b.pause):
		b.until(b.pause)
		return false
	}
	return true
}

// expire loses the segments whose time has come. While nothing gets through no
// time comes: no playlist could say so, and what the live window has is caught
// up afterwards.
func (b *backlog) expire(now time.Time) {
	var late []*item
	for _, f := range b.order {
		if !b.holds(f.stream(), now) {
			continue
		}
		for _, it := range f.pending {
			if it.state == waiting && !it.due.IsZero() && !now.Before(it.due) && (b.brief(it) || !b.worked.Before(it.due)) {
				late = append(late, it)
			}
		}
	}
	for _, it := range late {
		b.lose(now, it)
	}
}

// nextText returns the newest edition of a playlist that can be stored.
func (b *backlog) nextText(now time.Time, f *folder) (job, bool) {
	for _, l := range f.listings {
		if l.busy || len(l.editions) == 0 || b.leaving(l.key) {
			continue
		}
		if now.Before(l.next) {
			b.until(l.next)
			continue
		}
		for _, e := range slices.Backward(l.editions) {
			if !b.ready(e) {
				continue
			}
			text, ok := b.text(e, f)
			if !ok {
				continue
			}
			o := e.object
			o.Body = text
			return job{verb: putText, key: l.key, object: o, listing: l, edition: e}, true
		}
	}
	return job{}, false
}

// leaving says whether a key is being deleted just now.
func (b *backlog) leaving(key string) bool {
	r := b.removed[key]
	return r != nil && r.busy
}

// nextMedia returns the oldest item of a folder that can be tried. Parts that are
// of use for a moment only have a lane of their own: they wait for nothing else.
func (b *backlog) nextMedia(now time.Time, f *folder) (job, bool) {
	// Where one takes long, several take longer: they share the way.
	most := b.cfg.PerFolder
	if f.took == 0 || f.took > b.patience(f)/4 {
		most = 1
	}
	coming := 0
	for _, it := range f.pending {
		full := f.flying+coming >= most
		if b.brief(it) {
			full = f.brief >= b.cfg.PerFolder
		}
		switch {
		case full && b.cfg.PartLife == 0:
			return job{}, false
		case full || it.state != waiting || it.object.Kind == Held || b.leaving(it.object.Key):
		case now.Before(it.next):
			b.until(it.next)
		case it.onDisk():
			if b.fetch(it) {
				coming++
			}
		default:
			return job{verb: putMedia, key: it.object.Key, object: it.object, item: it}, true
		}
	}
	return job{}, false
}

func (b *backlog) nextRemoval(now time.Time) (job, bool) {
	for len(b.free) > 0 {
		r := b.free[0]
		switch {
		case r.void:
			b.free = b.free[1:]
		case now.Before(r.at):
			b.until(r.at)
			return job{}, false
		case !b.holds(stream(r.key), now):
			b.free = b.free[1:]
			r.at = now.Add(time.Second)
			b.enqueue(r)
		default:
			b.free = b.free[1:]
			return job{verb: remove, key: r.key, removal: r}, true
		}
	}
	b.free = nil
	return job{}, false
}

// begin notes that a job is on its way.
func (b *backlog) begin(now time.Time, j job) job {
	b.flying++
	j.began, j.limit = now, b.cfg.Timeout
	var f *folder
	switch j.verb {
	case putMedia:
		j.item.state = flying
		f = j.item.folder
		if b.brief(j.item) {
			f.brief++
		} else {
			f.flying++
		}
	case putText:
		j.listing.busy, j.listing.began, j.listing.flight = true, now, j.object.Body
		f = j.listing.folder
	case remove:
		j.removal.busy = true
		b.removing++
	case check:
		j.item.state = flying
		b.checking++
	}
	if f != nil {
		b.streams[f.stream()]++
	}
	if j.limit <= 0 {
		j.limit = 10 * time.Second
		if f != nil {
			j.limit = max(2*b.patience(f), 4*time.Second)
		}
	}
	if j.verb == putMedia && b.brief(j.item) {
		j.limit = min(j.limit, max(j.item.due.Sub(now), b.cfg.PartLife/4))
	}
	if b.fence != nil && j.verb != putMedia { // nothing visible changes when the lease is over
		j.limit = min(j.limit, b.fence.left(b.fence.streams[stream(j.key)], now))
	}
	return j
}

// done takes the result of a job.
func (b *backlog) done(now time.Time, r result) {
	j, err := r.job, r.err
	switch {
	case j.file != nil:
		b.doneSpool(now, r)
		return
	case j.verb == guard:
		b.doneClaim(now, j, err)
		return
	}
	b.flying--
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, errors.ErrUnsupported) { // those are answers
		b.met.Failures.Add(1)
	}
	switch j.verb {
	case check: // says nothing of how media and playlists do
		b.checking--
		b.doneCheck(now, j, err)
	case putMedia:
		b.land(j.item.folder)
		if !b.brief(j.item) || !errors.Is(err, context.DeadlineExceeded) { // its time is short: that says little
			b.judge(now, j, err)
		}
		b.doneMedia(now, j, err)
	case putText:
		b.land(j.listing.folder)
		b.judge(now, j, err)
		b.doneText(now, j, err)
	case remove: // says nothing of how media and playlists do
		b.removing--
		b.doneRemoval(now, j, err)
	}
}

// land counts a job of a folder's stream out.
func (b *backlog) land(f *folder) {
	name := f.stream()
	if b.streams[name]--; b.streams[name] == 0 {
		delete(b.streams, name)
	}
}

// judge learns of the sink from the result of a Put.
func (b *backlog) judge(now time.Time, j job, err error) {
	if err == nil {
		if b.several && (b.down() || now.Sub(b.failing) >= 2*time.Second) {
			b.extend(now, "")
		}
		b.fails, b.several, b.level, b.refused, b.worked = 0, false, 0, false, now
		return
	}
	b.lastErr, b.erred = err, now
	b.several = b.fails > 0 && (b.several || j.key != b.culprit)
	if b.fails == 0 { // nothing got through since then
		b.culprit, b.failing = j.key, j.began
		if b.worked.After(b.failing) {
			b.failing = b.worked
		}
	}
	probe := b.down()
	b.fails++
	b.refused = IsPermanent(err)
	if !b.down() {
		return
	}
	if probe {
		b.level++
	}
	first, most := pauseFirst, pauseMost
	if b.refused {
		first, most = refusedFirst, refusedMost
	}
	b.pause = now.Add(backoff(b.level+1, first, most))
}

// extend gives all that waits below a prefix new time after an outage: everything
// is tried at once, and has to be caught up at twice the speed that it came at.
func (b *backlog) extend(now time.Time, prefix string) {
	for _, f := range b.order {
		if !strings.HasPrefix(f.path, prefix) {
			continue
		}
		for _, l := range f.listings {
			l.tries, l.next = 0, l.began.Add(b.cfg.PlaylistEvery)
		}
		for i, it := range f.pending {
			it.next = time.Time{}
			if it.due.IsZero() || b.brief(it) {
				continue
			}
			due := now.Add(b.patience(f) + it.came.Sub(f.pending[0].came)/2)
			if it.object.Kind == Held {
				due = due.Add(time.Duration(i) * perCheck)
			}
			if due.After(it.due) {
				it.due = due
			}
		}
	}
}

// pauseAfter returns when something that failed so often may be tried again.
func pauseAfter(now time.Time, tries int, err error) time.Time {
	if IsPermanent(err) {
		return now.Add(backoff(tries, refusedFirst, refusedMost))
	}
	return now.Add(backoff(tries, pauseFirst, pauseMost))
}

func (b *backlog) doneMedia(now time.Time, j job, err error) {
	it, f := j.item, j.item.folder
	if b.brief(it) {
		f.brief--
	} else {
		f.flying--
		f.took = max(now.Sub(j.began), 1)
	}
	key := j.key
	switch {
	case err == nil:
		b.met.Stored.Add(1)
		b.met.StoredBytes.Add(uint64(j.object.Body.Len())) //nolint:gosec // never negative
		b.forget(it, kept)
	case it.deleted:
		b.lose(now, it)
		b.outdate(it)
	default:
		it.state = waiting
		it.tries++
		it.next = pauseAfter(now, it.tries, err)
		if IsPermanent(err) && !it.due.IsZero() {
			it.due = now // it is lost as soon as something else gets through
		}
	}
	if it.deleted {
		b.schedule(now, key)
	}
}

func (b *backlog) doneText(now time.Time, j job, err error) {
	l := j.listing
	l.busy, l.flight = false, nil
	if err == nil {
		b.met.Playlists.Add(1)
		b.show(now, l, j)
	} else {
		l.tries++
		l.next = pauseAfter(now, l.tries, err)
		l.doubt = true
	}
	if least := j.began.Add(b.cfg.PlaylistEvery); l.next.Before(least) {
		l.next = least
	}
	if l.deleted {
		b.schedule(now, l.key)
	}
}

// show notes that an edition is visible.
func (b *backlog) show(now time.Time, l *listing, j job) {
	l.stored, l.shown, l.doubt, l.at, l.tries, l.next = true, j.object.Body, false, now, 0, time.Time{}
	l.object = j.edition.object
	l.editions = slices.DeleteFunc(l.editions, func(e *edition) bool { return e.number <= j.edition.number }) // older ones never come
	l.folder.inherited = false
	b.unblock(now, l)
	if len(b.missing) == 0 || b.cfg.Names == nil {
		return
	}
	// What was missing before this edition came, and is not in it, is not in a
	// later one.
	named := map[string]bool{}
	b.each(j.edition.object.Body, l.folder.path, func(key []byte, _ int) bool { // without the gaps of ours
		if _, missing := b.missing[string(key)]; missing {
			named[string(key)] = true
		}
		return true
	})
	for key, since := range b.missing {
		if inside(key, l.folder.path) && since.Before(j.edition.came) && !named[key] {
			delete(b.missing, key)
		}
	}
}

func (b *backlog) doneRemoval(now time.Time, j job, err error) {
	r := j.removal
	r.busy = false
	current := b.removed[r.key] == r
	l := b.listings[r.key]
	r.tries++
	switch {
	case err == nil:
		b.met.Deleted.Add(1)
	case r.void:
	case r.tries < maxRemovals || l != nil: // a playlist stays, and what it names with it, until it goes
		r.at = pauseAfter(now, r.tries, err)
		if r.tries >= maxRemovals {
			r.at = now.Add(backoff(r.tries, refusedFirst, refusedMost))
		}
		if r.tries == maxRemovals {
			b.met.LeftBehind.Add(1)
		}
		b.enqueue(r)
		return
	default: // not fatal (specs S15)
		b.met.LeftBehind.Add(1)
	}
	if current {
		delete(b.removed, r.key)
	}
	if l != nil && !r.void {
		b.close(now, l)
	}
}

// close forgets a playlist that is not there any more.
func (b *backlog) close(now time.Time, l *listing) {
	delete(b.listings, l.key)
	l.stored, l.shown, l.doubt, l.at = false, nil, false, now
	f := l.folder
	f.inherited = false
	for i := range f.listings {
		if f.listings[i] == l {
			f.listings = append(f.listings[:i], f.listings[i+1:]...)
			break
		}
	}
	b.unblock(now, l)
	for key := range b.missing {
		if inside(key, f.path) {
			delete(b.missing, key)
		}
	}
	b.tidy(f)
}

// idle says that everything that can be stored is.
func (b *backlog) idle() bool {
	if b.flying > 0 {
		return false
	}
	for _, it := range b.items {
		if !b.shut(it.folder.stream()) {
			return false
		}
	}
	for _, l := range b.listings {
		if len(l.editions) > 0 && !b.shut(l.folder.stream()) {
			return false
		}
	}
	return true
}

// oldest returns when the oldest item came that is not stored.
func (b *backlog) oldest() (time.Time, bool) {
	var at time.Time
	for _, f := range b.order {
		if len(f.pending) > 0 && !b.shut(f.stream()) && (at.IsZero() || f.pending[0].came.Before(at)) {
			at = f.pending[0].came
		}
	}
	return at, !at.IsZero()
}

// late says whether what waits is older than it should be.
func (b *backlog) late(now time.Time) bool {
	if at, waits := b.oldest(); waits && now.Sub(at) > behindAfter {
		return true
	}
	for _, l := range b.listings {
		if l.tries > 0 && len(l.editions) > 0 && now.Sub(l.editions[0].came) > b.patience(l.folder)*3/2 { // specs S13
			return true
		}
	}
	return !b.lost.IsZero() && now.Sub(b.lost) < time.Minute
}

// health sums up.
func (b *backlog) health(now time.Time) Health {
	h := Health{State: Working, Objects: len(b.items), Bytes: b.bytes, Spooled: b.spool.used, Missing: len(b.missing), Fenced: b.fences(now)}
	if b.spool.err != nil {
		h.SpoolError = b.spool.err.Error()
	}
	if at, waits := b.oldest(); waits {
		h.Oldest = now.Sub(at)
	}
	for _, l := range b.listings {
		h.Playlists += len(l.editions)
	}
	switch {
	case b.fails >= downAfter && b.refused:
		h.State = Refused
	case b.fails >= downAfter:
		h.State = Down
	case b.late(now):
		h.State = Behind
	}
	if b.lastErr != nil && (b.fails > 0 || h.State == Behind && now.Sub(b.erred) < time.Minute) {
		h.Error = b.lastErr.Error()
	}
	if b.fails > 0 {
		h.Failing = now.Sub(b.failing)
	}
	return h
}
