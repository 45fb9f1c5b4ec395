package mix

import "math"

const (
	// levelSteps is how many steps the level is of: 100 ms.
	levelSteps = 5
	// loud is how much above the quiet of a seat speech is, and least what it is at
	// least, in dB and dBFS. It ends when it is soft dB lower for holdSteps.
	loud      = 12
	least     = -50
	soft      = 6
	holdSteps = 20
	// The quiet of a seat is its least level; it rises by rise dB each step.
	rise = 0.04
	// quietest is what it is at least, and noisiest at most.
	quietest = -80
	noisiest = -35
)

// meter measures how loud a seat is.
type meter struct {
	steps    [levelSteps]float64 // power of the newest ones
	at       int
	sum      float64 // of the step that fills
	count    int
	floor    float64 // the quiet of the seat, in dBFS; 0 before the first step
	silent   int     // steps since it was as loud as speech
	speaking bool
}

// take measures sound.
func (m *meter) take(sound []stereo) {
	sum := float32(0)
	for _, s := range sound {
		sum += s[0]*s[0] + s[1]*s[1]
	}
	m.sum += float64(sum)
	if m.count += len(sound); m.count < stepTicks {
		return
	}
	m.steps[m.at] = m.sum / float64(2*m.count)
	m.at = (m.at + 1) % levelSteps
	m.sum, m.count = 0, 0
	m.judge(float64(m.level()))
}

// judge decides whether somebody speaks.
func (m *meter) judge(level float64) {
	if m.floor == 0 {
		m.floor = noisiest
	}
	m.floor = min(max(min(level, m.floor+rise), quietest), noisiest)
	speech := max(least, m.floor+loud)
	switch {
	case level >= speech:
		m.speaking, m.silent = true, 0
	case level >= speech-soft:
		m.silent = 0
	default:
		if m.silent++; m.silent >= holdSteps {
			m.speaking = false
		}
	}
}

// level returns how loud the last 100 ms were.
func (m *meter) level() float32 {
	sum := 0.0
	for _, p := range m.steps {
		sum += p
	}
	return float32(max(Floor, 10*math.Log10(sum/levelSteps)))
}
