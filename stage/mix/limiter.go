package mix

const (
	// lookTicks is how far the limiter looks ahead, 2 ms, and how late its output is.
	lookTicks = rate / 500
	// ceiling is the peak of what is mixed: 1 dB below full scale.
	ceiling = 0.8912
	// release is how fast sound gets louder again: by 63 % of the way in 150 ms.
	release = 1.0 / (0.15 * rate)
)

// limiter keeps sound below the ceiling. It turns down before a peak comes, evenly over
// the time that it looks ahead, and slowly up again.
type limiter struct {
	delay [lookTicks]stereo
	gains [lookTicks]float64 // the least gains of the newest windows, to take the mean of
	at    int                // in both
	sum   float64            // of gains
	gain  float64            // of the newest sample, rising slowly
	least [lookTicks + 1]turn
	head  int // of least, which has the candidates for the least gain of the window
	count int
	time  int64
}

// turn is a gain that a sample needs.
type turn struct {
	time int64
	gain float64
}

func newLimiter() limiter {
	l := limiter{gain: 1, sum: lookTicks}
	for i := range l.gains {
		l.gains[i] = 1
	}
	return l
}

// run limits sound in place; what it puts there is lookTicks later.
func (l *limiter) run(sound []stereo) {
	for i, s := range sound {
		l.gain += (1 - l.gain) * release
		if peak := max(s[0], -s[0], s[1], -s[1]); float64(peak)*l.gain > ceiling {
			l.gain = ceiling / float64(peak)
		}
		least := l.window()
		l.sum += least - l.gains[l.at]
		l.gains[l.at] = least
		// The mean of windows that all have the sample in them is not above what it needs.
		g := float32(min(l.sum/lookTicks, 1))
		old := l.delay[l.at]
		l.delay[l.at] = s
		sound[i] = stereo{old[0] * g, old[1] * g}
		l.at = (l.at + 1) % lookTicks
	}
}

// window returns the least gain of the newest lookTicks+1 samples.
func (l *limiter) window() float64 {
	l.time++
	if l.count > 0 && l.least[l.head].time < l.time-lookTicks {
		l.head = (l.head + 1) % len(l.least)
		l.count--
	}
	for l.count > 0 && l.least[(l.head+l.count-1)%len(l.least)].gain >= l.gain {
		l.count--
	}
	l.least[(l.head+l.count)%len(l.least)] = turn{l.time, l.gain}
	l.count++
	return l.least[l.head].gain
}
