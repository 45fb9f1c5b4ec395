package hlscheck

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/Eyevinn/mp4ff/mp4"
)

// initialization is what an init segment says.
type initialization struct {
	moov          *mp4.MoovBox
	track         uint32
	timescale     uint32
	audio         bool
	codec         string // as in CODECS; "" if it is not known
	width, height int    // of the pictures as coded
	shown         [2]int // and as to be shown
	channels      int
}

// readInit reads an init segment and checks L1, L7, L8 and L10 in it.
func readInit(body []byte, fault faultFunc) (*initialization, error) {
	file, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	moov, err := readMoov(file)
	if err != nil {
		return nil, err
	}
	if file.Init.Ftyp == nil || !slices.ContainsFunc(file.Init.Ftyp.CompatibleBrands(), modern) {
		fault("L1", "no ftyp with a brand from iso6 on")
	}
	if len(moov.Traks) != 1 {
		fault("L8", "%d tracks", len(moov.Traks))
	}
	trak := moov.Trak
	if moov.Mvhd == nil || moov.Mvhd.Duration != 0 || trak.Tkhd.Duration != 0 {
		fault("L1", "the movie or its track has a duration")
	}
	if trak.Edts != nil {
		fault("L10", "edit list")
	}
	i := &initialization{moov: moov, track: trak.Tkhd.TrackID, timescale: trak.Mdia.Mdhd.Timescale}
	i.shown = [2]int{int(trak.Tkhd.Width >> 16), int(trak.Tkhd.Height >> 16)}
	i.audio = trak.Mdia.Hdlr != nil && trak.Mdia.Hdlr.HandlerType == "soun"
	if trak.Mdia.Minf != nil && trak.Mdia.Minf.Stbl != nil {
		i.readTable(trak.Mdia.Minf.Stbl, fault)
	}
	return i, nil
}

// readMoov returns the boxes without which nothing can be read.
func readMoov(file *mp4.File) (*mp4.MoovBox, error) {
	if file.Init == nil || file.Init.Moov == nil || file.Init.Moov.Trak == nil {
		return nil, errors.New("no moov with a trak")
	}
	moov := file.Init.Moov
	if moov.Mvex == nil || moov.Mvex.Trex == nil {
		return nil, errors.New("no mvex with a trex")
	}
	trak := moov.Trak
	if trak.Mdia == nil || trak.Mdia.Mdhd == nil || trak.Mdia.Mdhd.Timescale == 0 || trak.Tkhd == nil {
		return nil, errors.New("no tkhd, or no mdhd with a timescale")
	}
	return moov, nil
}

// modern reports whether a brand stands for ISO/IEC 14496-12 from iso6 on.
func modern(brand string) bool {
	return len(brand) == 4 && strings.HasPrefix(brand, "iso") && brand[3] >= '6' && brand[3] <= '9' || strings.HasPrefix(brand, "cmf")
}

// readTable reads the sample entry: L1, L7, and CODECS as L84 to L89 have it.
func (i *initialization) readTable(stbl *mp4.StblBox, fault faultFunc) {
	if stbl.Stts != nil && len(stbl.Stts.SampleCount) > 0 || stbl.Stsz != nil && stbl.Stsz.SampleNumber > 0 {
		fault("L1", "the sample tables are not empty")
	}
	if stbl.Stsd == nil || len(stbl.Stsd.Children) == 0 {
		return
	}
	if len(stbl.Stsd.Children) > 1 {
		fault("L1", "%d sample entries", len(stbl.Stsd.Children))
	}
	entry := stbl.Stsd.Children[0]
	if kind := entry.Type(); kind == "avc3" || kind == "hev1" {
		fault("L7", "sample entry %s: the parameter sets belong in the init segment", kind)
	}
	switch e := entry.(type) {
	case *mp4.VisualSampleEntryBox:
		i.width, i.height = int(e.Width), int(e.Height)
		i.codec = videoCodec(e)
	case *mp4.AudioSampleEntryBox:
		i.channels = int(e.ChannelCount)
		i.codec = audioCodec(e)
	}
}

func videoCodec(e *mp4.VisualSampleEntryBox) string {
	switch {
	case e.AvcC != nil:
		return fmt.Sprintf("%s.%02x%02x%02x", e.Type(), e.AvcC.AVCProfileIndication, e.AvcC.ProfileCompatibility, e.AvcC.AVCLevelIndication)
	case e.HvcC != nil:
		return hevcCodec(e)
	case e.Av1C != nil:
		tier, depth := "M", 8
		if e.Av1C.SeqTier0 != 0 {
			tier = "H"
		}
		if e.Av1C.HighBitdepth != 0 {
			depth = 10 + 2*int(e.Av1C.TwelveBit)
		}
		return fmt.Sprintf("%s.%d.%02d%s.%02d", e.Type(), e.Av1C.SeqProfile, e.Av1C.SeqLevelIdx0, tier, depth)
	case e.VppC != nil:
		return fmt.Sprintf("%s.%02d.%02d.%02d", e.Type(), e.VppC.Profile, e.VppC.Level, e.VppC.BitDepth)
	}
	return ""
}

// hevcCodec writes what ISO/IEC 14496-15 Annex E says.
func hevcCodec(e *mp4.VisualSampleEntryBox) string {
	c := e.HvcC
	space, tier := "", "L"
	if c.GeneralProfileSpace > 0 {
		space = string('A' + rune(c.GeneralProfileSpace) - 1)
	}
	if c.GeneralTierFlag {
		tier = "H"
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s.%s%d.%X.%s%d", e.Type(), space, c.GeneralProfileIDC,
		bits.Reverse32(c.GeneralProfileCompatibilityFlags), tier, c.GeneralLevelIDC)
	constraints := c.GeneralConstraintIndicatorFlags & (1<<48 - 1)
	for shift := 40; shift >= 0 && constraints&(1<<(shift+8)-1) != 0; shift -= 8 {
		fmt.Fprintf(&text, ".%X", constraints>>shift&0xff)
	}
	return text.String()
}

func audioCodec(e *mp4.AudioSampleEntryBox) string {
	if e.Dops != nil {
		return "Opus"
	}
	if e.Esds == nil || e.Esds.DecConfigDescriptor == nil {
		return ""
	}
	c := e.Esds.DecConfigDescriptor
	text := fmt.Sprintf("mp4a.%02x", c.ObjectType)
	if c.DecSpecificInfo != nil && len(c.DecSpecificInfo.DecConfig) > 0 {
		text += fmt.Sprintf(".%d", c.DecSpecificInfo.DecConfig[0]>>3)
	}
	return text
}

// family returns a codec string without its level and what follows: formats of
// which players that play one play the other, up to its size.
func family(codec string) string {
	codec = strings.ToLower(codec)
	fields := strings.SplitN(codec, ".", 3)
	switch {
	case len(fields) < 2:
	case strings.HasPrefix(codec, "avc"):
		return fields[0] + "." + fields[1][:min(2, len(fields[1]))]
	case !strings.HasPrefix(codec, "mp4a"):
		return fields[0] + "." + fields[1]
	}
	return codec
}

// samples is what the fragments of a file say.
type samples struct {
	decode, duration uint64
	shift            int64 // of the first sample: from its decoding to its presentation
	count, bytes     int
	sync             bool // the first sample is one
	anySync          bool
}

// readSamples reads a segment or a part. It checks L2 and L8 in it.
func (i *initialization) readSamples(body []byte, fault func(item, text string)) (samples, error) {
	m := samples{bytes: len(body)}
	file, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		return m, err
	}
	for _, segment := range file.Segments {
		for _, fragment := range segment.Fragments {
			if err := i.readFragment(fragment, &m, fault); err != nil {
				return m, err
			}
		}
	}
	if m.count == 0 {
		return m, errors.New("no samples")
	}
	return m, nil
}

func (i *initialization) readFragment(f *mp4.Fragment, m *samples, fault func(item, text string)) error {
	if f.Moof == nil || f.Moof.Traf == nil || f.Moof.Traf.Tfhd == nil || f.Mdat == nil {
		return errors.New("fragment without traf or mdat")
	}
	traf := f.Moof.Traf
	if len(f.Moof.Trafs) != 1 || traf.Tfhd.TrackID != i.track {
		fault("L8", "a fragment has another track than the init segment")
	}
	if traf.Tfdt == nil {
		return errors.New("fragment without tfdt")
	}
	if traf.Tfhd.HasBaseDataOffset() || !traf.Tfhd.DefaultBaseIfMoof() {
		fault("L2", "a fragment is not addressed relative to itself")
	}
	full, err := f.GetFullSamples(i.moov.Mvex.Trex)
	if err != nil {
		return err
	}
	for _, sample := range full {
		if m.count == 0 {
			m.decode, m.sync, m.shift = sample.DecodeTime, sample.IsSync(), int64(sample.CompositionTimeOffset)
		}
		m.count++
		m.anySync = m.anySync || sample.IsSync()
		m.duration += uint64(sample.Dur)
	}
	return nil
}
