package e2e

import (
	"testing"
	"time"
)

// BenchmarkGlass measures how old a picture is when somebody sees it by WHEP, from the
// camera of one page of Chromium to the screen of another: drawing, encoding, WHIP,
// gateway, WHEP, jitter buffer, decoding and showing; and how old it is when its last
// packet is there. The camera writes the time into each picture, and the viewer reads it
// from what is shown. Both pages share the machine, and its clock.
func BenchmarkGlass(b *testing.B) {
	for b.Loop() {
		g := serveWith(b, plainBinary)
		s := browse(b, "glass", g.url(""), "glass")
		for name, figures := range map[string][]float64{"shown": s.Ages.Shown, "received": s.Ages.Received} {
			ages := make([]time.Duration, len(figures))
			for i, age := range figures {
				ages[i] = time.Duration(age * float64(time.Millisecond))
			}
			if len(ages) < 100 {
				b.Errorf("only %d pictures were %s in 15 s", len(ages), name)
			}
			b.ReportMetric(millis(quantile(ages, 0.5)), "ms-"+name+"-p50")
			b.ReportMetric(millis(quantile(ages, 0.99)), "ms-"+name+"-p99")
		}
		if err := g.stop(b); err != nil {
			b.Error(err)
		}
	}
}
