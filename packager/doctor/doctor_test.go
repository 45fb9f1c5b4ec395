package doctor_test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/whipcast/whipcast/packager/au"
	"github.com/whipcast/whipcast/packager/doctor"
)

// TestCompare: a caller logs what was raised, what got worse and what was cleared,
// once each.
func TestCompare(t *testing.T) {
	loss := doctor.Finding{Code: doctor.PacketLoss, Severity: doctor.Warning, Value: 0.3}
	more, worse := loss, loss
	more.Value, worse.Severity = 0.4, doctor.Problem
	mono := doctor.Finding{Code: doctor.MonoAudio, Severity: doctor.Note}
	for _, tt := range []struct {
		name          string
		before, after []doctor.Finding
		want          doctor.Change
	}{
		{"nothing", nil, nil, doctor.Change{}},
		{"raised", []doctor.Finding{mono}, []doctor.Finding{loss, mono}, doctor.Change{Raised: []doctor.Finding{loss}}},
		{"cleared", []doctor.Finding{loss, mono}, []doctor.Finding{loss}, doctor.Change{Cleared: []doctor.Finding{mono}}},
		{"another value is no change", []doctor.Finding{loss}, []doctor.Finding{more}, doctor.Change{}},
		{"worse", []doctor.Finding{loss}, []doctor.Finding{worse}, doctor.Change{Raised: []doctor.Finding{worse}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(doctor.Compare(tt.before, tt.after), tt.want); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// opinions of chance: an Examiner at the mercy of random observations.
type chance struct {
	e      *doctor.Examiner
	now    time.Time
	random *rand.Rand
	stats  au.Stats
	u      au.Unit
}

func newChance(cfg doctor.Config, seed uint64) *chance {
	now := time.Unix(1_700_000_000, 0)
	c := &chance{e: doctor.New(cfg, now), now: now, random: rand.New(rand.NewPCG(seed, 1))}
	c.u = au.Unit{Duration: 960, Params: &au.Params{Codec: cfg.Codec, Width: 640, Height: 360}, Data: make([]byte, 4000)}
	return c
}

// second lets a second pass in one of many moods.
func (c *chance) second(mood int) {
	for range 30 {
		c.now = c.now.Add(time.Second / 30)
		c.u.DTS += 3000 + int64(mood&1)*c.random.Int64N(9000)
		c.u.PTS = c.u.DTS - int64(mood>>1&1)*c.random.Int64N(9000)
		c.u.Arrival = c.now.Add(time.Duration(c.random.Int64N(int64(30 * time.Millisecond))))
		c.u.Key = c.random.IntN(30*(1+mood>>2&1*9)) == 0
		c.u.Data = c.u.Data[:1+c.random.IntN(1+[]int{3999, 7}[mood>>3&1])]
		c.u.Gap = mood>>4&1 == 1 && c.random.IntN(9) == 0
		if c.u.Gap {
			c.stats.Lost++
			c.stats.Late += uint64(mood >> 5 & 1)
		}
		if c.u.Key && mood>>6&1 == 1 {
			params := *c.u.Params
			params.Width = 1 + c.random.IntN(4000)
			c.u.Params = &params
		}
		c.stats.Packets += 3
		if mood>>7&1 == 0 {
			c.e.Unit(&c.u)
			c.e.Count(c.now, c.stats)
		}
	}
	c.e.Level(-100 * c.random.Float64())
	c.e.Asked(c.now)
	c.e.SenderReport(c.now)
	c.e.Advance(c.now, c.now)
}

// TestCalm: findings do not flap where every four seconds are unlike the last
// ones: each is raised at most once a minute.
func TestCalm(t *testing.T) {
	for _, codec := range []string{"H264", "Opus"} {
		c := newChance(doctor.Config{Codec: codec, Stereo: true}, 7)
		const length = 3000
		raised := map[doctor.Code]int{}
		var last []doctor.Finding
		mood := 0
		for i := range length {
			if i%4 == 0 {
				mood = c.random.IntN(256)
			}
			c.second(mood)
			list := c.e.Findings()
			for _, f := range doctor.Compare(last, list).Raised {
				raised[f.Code]++
			}
			last = list
		}
		if len(raised) < 4 {
			t.Errorf("%s: only %v was ever raised: the test shows nothing", codec, raised)
		}
		for code, n := range raised {
			most := length / 60
			if code == doctor.LayerDead {
				most = length / 10 // it is true each time
			}
			if n > most {
				t.Errorf("%s: %s was raised %d times in %d s", codec, code, n, length)
			}
		}
	}
}

// TestVersion: it rises if and only if Compare finds something.
func TestVersion(t *testing.T) {
	c := newChance(doctor.Config{Codec: "H264"}, 3)
	var last []doctor.Finding
	version, changes := c.e.Version(), 0
	for i := range 2000 {
		c.second(c.random.IntN(256) & (i / 100))
		list := c.e.Findings()
		change := doctor.Compare(last, list)
		if changed := len(change.Raised)+len(change.Cleared) > 0; changed != (c.e.Version() != version) {
			t.Fatalf("version %d after %d; %+v", c.e.Version(), version, change)
		} else if changed {
			changes++
		}
		last, version = list, c.e.Version()
	}
	if changes == 0 {
		t.Error("nothing changed: the test shows nothing")
	}
}

// TestLateLooks: an Examiner whose owner was busy for seconds does not take that
// for anything but itself.
func TestLateLooks(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	e := doctor.New(doctor.Config{Codec: "H264"}, now)
	u := au.Unit{Params: &au.Params{Codec: "H264", Width: 640, Height: 360}, Data: make([]byte, 5000)}
	var stats au.Stats
	for i := range 3000 {
		now = now.Add(time.Second / 30)
		u.PTS, u.DTS, u.Arrival, u.Key = u.PTS+3000, u.DTS+3000, now, i%60 == 0
		stats.Packets += 5
		e.Unit(&u)
		if i%200 == 0 { // once in seven seconds
			e.SenderReport(now)
			e.Count(now, stats)
			e.Advance(now, now)
		}
	}
	if all := e.Findings(); len(all) > 0 {
		t.Errorf("%+v", all)
	}
}

// TestNoAllocations: observations cost no memory.
func TestNoAllocations(t *testing.T) {
	for _, codec := range []string{"H264", "Opus"} {
		c := newChance(doctor.Config{Codec: codec, Stereo: true}, 5)
		for i := range 400 {
			c.second(i)
		}
		if n := testing.AllocsPerRun(500, func() { c.second(0xbf) }); n > 0 {
			t.Errorf("%s: %v allocations in a second", codec, n)
		}
	}
}

// FuzzExaminer: nothing that comes from outside breaks it, and what it says can
// be sent as JSON.
func FuzzExaminer(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{9, 9, 0, 250, 9, 3, 255, 255, 4, 128, 6, 0, 9, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, codec := range []string{"H264", "Opus"} {
			c := newChance(doctor.Config{Codec: codec, Stereo: true, OnRequest: len(script)%2 == 0}, uint64(len(script)))
			for i := 0; i+1 < len(script) && i < 400; i += 2 {
				x := int64(int8(script[i+1]))
				switch script[i] % 10 {
				case 0:
					c.u.PTS += x << (script[i] / 8)
				case 1:
					c.u.DTS += x << (script[i] / 8)
				case 2:
					c.now = c.now.Add(time.Duration(x) * time.Duration(script[i]) * time.Millisecond)
				case 3:
					c.u.Restart, c.u.Gap, c.u.Key = x&1 != 0, x&2 != 0, x&4 != 0
				case 4:
					c.u.Duration = x << 6
				case 5:
					c.stats.Lost, c.stats.Late, c.stats.Packets = uint64(script[i]), uint64(script[i+1]), uint64(i)
				case 6:
					c.e.Level([]float64{math.NaN(), math.Inf(-1), math.Inf(1), float64(x)}[x&3])
				case 7:
					c.u.Data = c.u.Data[:script[i+1]]
					c.e.Unit(&c.u)
					c.e.Count(c.now, c.stats)
				case 8:
					c.e.Asked(c.now)
					c.e.Advance(c.now, c.now.Add(time.Duration(x)*time.Second))
				case 9:
					c.second(int(script[i+1]))
				}
			}
			for _, finding := range c.e.Findings() {
				if _, err := json.Marshal(finding); err != nil || finding.Words == "" || finding.Severity.String() == "none" {
					t.Errorf("%+v: %v", finding, err)
				}
			}
		}
	})
}

// BenchmarkUnit is the cost of one picture, with its share of the looks.
func BenchmarkUnit(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	e := doctor.New(doctor.Config{Codec: "H264"}, now)
	u := au.Unit{Params: &au.Params{Codec: "H264", Width: 640, Height: 360}, Data: make([]byte, 5000)}
	var stats au.Stats
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Second / 30)
		u.PTS, u.DTS, u.Arrival, u.Key = u.PTS+3000, u.DTS+3000, now, i%60 == 0
		stats.Packets += 10
		e.Unit(&u)
		e.Count(now, stats)
		e.Advance(now, now)
	}
}

// BenchmarkSound is the cost of one Opus packet.
func BenchmarkSound(b *testing.B) {
	now := time.Unix(1_700_000_000, 0)
	e := doctor.New(doctor.Config{Codec: "Opus", Stereo: true}, now)
	u := au.Unit{Params: &au.Params{Codec: "Opus"}, Data: make([]byte, 160), Duration: 960, Key: true}
	u.Data[0] = 0xfc
	var stats au.Stats
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Second / 50)
		u.PTS, u.DTS, u.Arrival = u.PTS+960, u.DTS+960, now
		stats.Packets++
		e.Unit(&u)
		e.Count(now, stats)
		e.Level(-20)
		e.Advance(now, now)
	}
}
