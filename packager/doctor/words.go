package doctor

import (
	"strconv"
	"strings"
	"time"
)

// symptom is a Code as an index of signs.
type symptom int

const (
	layerDead symptom = iota
	noPackets
	noKeyframe
	intraRefresh
	encoderSlow
	tooFast
	frameRate
	unevenFrames
	keyframeInterval
	ignoresPLI
	bFrameTimes
	bFrames
	packetLoss
	latePackets
	malformedPackets
	clockDrift
	bitrateLimit
	noSenderReports
	resolutionThrash
	frozenPicture
	silence
	monoAudio
	opusDTX
	symptoms
)

// variant chooses between the words of a symptom.
type variant uint8

const (
	_        variant = iota
	never            // it never was there
	stopped          // it was there
	layered          // one of several Layers
	promised         // key frames on request: a browser
)

// newSigns returns the signs with their hysteresis: how long the evidence must
// last, and how long its absence. Many opinions look back ten seconds by
// themselves; these times come on top.
func newSigns() [symptoms]sign {
	signs := [symptoms]sign{
		encoderSlow:      {raise: 3 * time.Second, clear: 20 * time.Second},
		tooFast:          {raise: 5 * time.Second, clear: 20 * time.Second},
		frameRate:        {raise: 3 * time.Second, clear: 15 * time.Second},
		unevenFrames:     {raise: 3 * time.Second, clear: 20 * time.Second},
		keyframeInterval: {clear: 10 * time.Second},
		layerDead:        {clear: 2 * time.Second},
		noPackets:        {clear: 2 * time.Second},
		noKeyframe:       {clear: 2 * time.Second},
		intraRefresh:     {clear: 2 * time.Second},
		clockDrift:       {clear: time.Minute},
		bitrateLimit:     {raise: 2 * time.Second, clear: 15 * time.Second},
		resolutionThrash: {clear: 30 * time.Second},
		opusDTX:          {clear: time.Minute},
		monoAudio:        {raise: 5 * time.Second, clear: 10 * time.Second},
		frozenPicture:    {clear: 5 * time.Second},
		silence:          {clear: 5 * time.Second},
		noSenderReports:  {clear: 5 * time.Second},
	}
	for _, s := range []symptom{bFrames, bFrameTimes, packetLoss, latePackets, malformedPackets} {
		signs[s].clear = 30 * time.Second
	}
	return signs
}

// text is what is said of a symptom. In words, # stands for the value.
type text struct {
	code          Code
	unit          string
	words, remedy string
	others        []other
}

// other are the words for a variant; without a remedy it is the usual one.
type other struct {
	variant       variant
	words, remedy string
}

// finding fills in the words of a sign that is up.
func (t *text) finding(s *sign) Finding {
	words, remedy := t.words, t.remedy
	for _, o := range t.others {
		if o.variant == s.variant {
			words = o.words
			if o.remedy != "" {
				remedy = o.remedy
			}
		}
	}
	value := s.value
	if t.unit == "" {
		value = 0
	}
	return Finding{
		Code: t.code, Severity: s.severity, Since: s.since, Value: value, Unit: t.unit,
		Words: strings.ReplaceAll(words, "#", number(s.value)), Remedy: remedy,
	}
}

// number writes a value as a person wants it: one decimal where it is small.
func number(value float64) string {
	digits := 0
	if value < 10 && value > -10 {
		digits = 1
	}
	return strings.TrimSuffix(strconv.FormatFloat(value, 'f', digits, 64), ".0")
}

// texts returns all words.
func texts() [symptoms]text {
	var all [symptoms]text
	for _, some := range []map[symptom]text{linkTexts(), paceTexts(), pictureTexts(), soundTexts()} {
		for s, t := range some {
			all[s] = t
		}
	}
	return all
}

func linkTexts() map[symptom]text {
	return map[symptom]text{
		layerDead: {
			code: LayerDead, unit: "s",
			words:  "Nothing has come of this track for # s, while the publisher's other track goes on.",
			remedy: "Look at the source: a camera or microphone that was unplugged or taken by another program. In OBS check that the source is shown and not muted; in a browser allow the device again and publish anew.",
			others: []other{
				{never, "This track was announced # s ago and has sent nothing yet.", ""},
				{
					layered, "Nothing has come of this simulcast layer for # s, while others go on.",
					"Browsers stop the larger layers when the uplink or the processor is too slow: use a wire instead of Wi-Fi, or publish with fewer layers. In OBS lower the bit rate, or the number of layers under Settings → Stream.",
				},
			},
		},
		noPackets: {
			code: NoPackets, unit: "s",
			words:  "The publisher is connected, but nothing has come from it for # s.",
			remedy: "Look at its network first, then whether OBS, the browser or FFmpeg still runs. If it never sent anything, a firewall may let the connection through but not its media: allow UDP to the gateway's media port.",
			others: []other{{never, "The publisher connected # s ago and has sent nothing yet.", ""}},
		},
		packetLoss: {
			code: PacketLoss, unit: "%",
			words:  "#% of the packets are lost between the publisher and the gateway, also after asking for them again. Pictures or sound with holes are left out.",
			remedy: "Use a wire instead of Wi-Fi, and a bit rate of at most half of what the uplink can do: in OBS Settings → Output → Bitrate, on the publish page “Bit rate”, in FFmpeg -b:v with -maxrate and -bufsize.",
		},
		latePackets: {
			code: LatePackets, unit: "%",
			words:  "#% of the packets came too late to be used, most of them sent again after a loss.",
			remedy: "The way to the gateway is slow or its queues are full: lower the bit rate in OBS (Settings → Output → Bitrate) or on the publish page, use a wire instead of Wi-Fi, or choose a gateway that is nearer.",
		},
		malformedPackets: {
			code: Malformed, unit: "%",
			words:  "#% of the packets are not what their format says: cut short on the way or built wrongly. Their pictures are left out.",
			remedy: "Update the publisher's program. In FFmpeg set -pkt_size 1200; with a VPN lower its MTU.",
		},
		noSenderReports: {
			code: NoSenderReports, unit: "s",
			words:  "No usable sender report (RTCP SR) has come in # s. Sound and picture are matched by when they arrive, which may be some hundredths of a second off.",
			remedy: "Nothing to set in OBS, FFmpeg or a browser: they send them by themselves. Update the program; see that nothing on the way drops RTCP.",
			others: []other{{stopped, "The last usable sender report (RTCP SR) came # s ago. Sound and picture may drift apart slowly.", ""}},
		},
	}
}

func paceTexts() map[symptom]text {
	return map[symptom]text{
		encoderSlow: {
			code: EncoderSlow, unit: "%",
			words:  "The media runs at #% of real time: the encoder, or the uplink, does not keep up. Viewers will stall.",
			remedy: "In OBS open the Stats dock. “Skipped frames due to encoding lag”: a faster preset, a hardware encoder, a smaller output size or frame rate. “Frames missed due to rendering lag”: fewer or simpler sources. Neither: lower the bit rate. In FFmpeg use -preset veryfast, and see that it reports a speed of 1x. In a browser choose a smaller size and close other tabs.",
		},
		tooFast: {
			code: TooFast, unit: "%",
			words:  "The media runs at #% of real time: it is sent faster than it plays.",
			remedy: "From a file, FFmpeg needs -re in front of -i.",
		},
		clockDrift: {
			code: ClockDrift, unit: "ppm",
			words:  "The publisher's clock is # ppm off the gateway's (fast if positive). The gateway corrects it; 100 ppm are 0.36 s in an hour.",
			remedy: "Let camera, microphone and program use one clock: in OBS set the same sample rate (48 kHz) in Settings → Audio and for the device, and turn on “Use Device Timestamps” of a USB or capture device. Let the computer set its clock by NTP.",
		},
		bitrateLimit: {
			code: Bitrate, unit: "%",
			words:  "The publisher sends #% of the bit rate that it may (limits.bitrate), all tracks and layers together. It is cut off when it stays above 100 %.",
			remedy: "Lower the bit rate: in OBS Settings → Output → Bitrate, on the publish page “Bit rate”, in FFmpeg -b:v with -maxrate and -bufsize. Constant quality (CRF, CQP) has no limit of its own. Or let the operator raise limits.bitrate.",
		},
		frameRate: {
			code: FrameRate, unit: "fps",
			words:  "Only # pictures a second come; it was clearly more before.",
			remedy: "The encoder or the source does not keep up. In OBS see “Skipped frames due to encoding lag” and “Frames missed due to rendering lag” in the Stats dock: take a faster preset, a hardware encoder or a smaller output size. In FFmpeg use -preset veryfast. A camera in the dark may slow down by itself: more light, or a fixed exposure.",
			others: []other{{
				promised, "Only # pictures a second come; it was clearly more before. For a shared screen that rests this is normal.",
				"If it is a camera: choose a smaller size on the browser's publish page, close other programs, give it more light.",
			}},
		},
		unevenFrames: {
			code: UnevenFrames, unit: "%",
			words:  "#% of the pictures come after a gap in which a picture is missing: motion is not smooth.",
			remedy: "In OBS see “Skipped frames due to encoding lag” in the Stats dock: take a faster preset or a hardware encoder, and set the frame rate under Settings → Video to that of the camera. In FFmpeg add -fps_mode cfr -r 30.",
		},
	}
}

func pictureTexts() map[symptom]text {
	return map[symptom]text{
		noKeyframe: {
			code: NoKeyframe, unit: "s",
			words:  "Packets come, but for # s no key frame with its parameter sets: nothing can be shown.",
			remedy: "In OBS set Settings → Output → Keyframe Interval to 2 s. In FFmpeg use -g 60 at 30 frames a second. Turn “intra refresh” off. Hardware encoders must repeat SPS and PPS with each key frame (“repeat headers”). In a browser publish anew.",
		},
		intraRefresh: {
			code:   IntraRefresh,
			words:  "The encoder refreshes the picture little by little and sends no key frames: it cannot be cut into segments, and nothing is shown.",
			remedy: "Turn “intra refresh” off: in OBS take intra-refresh=1 out of the x264 options; in FFmpeg drop -intra-refresh 1 and use -g 60.",
		},
		keyframeInterval: {
			code: KeyframeInterval, unit: "s",
			words:  "Key frames come up to # s apart. Segments cannot be shorter than that: viewers start later and are further behind.",
			remedy: "In OBS set Settings → Output → Output Mode “Advanced” → Streaming → Keyframe Interval to 2 s (0 means automatic, about 8 s); 1 s is better for low latency. In FFmpeg use -g 60 at 30 frames a second. A camera has it in its video settings, as I-frame interval or GOP.",
		},
		ignoresPLI: {
			code:   IgnoresPLI,
			words:  "The publisher sends no key frame when asked for one (PLI). OBS, FFmpeg and cameras never do. After a loss the picture is damaged until the next one.",
			remedy: "Let key frames come by themselves: Keyframe Interval 2 s or 1 s in OBS (Settings → Output), -g 60 in FFmpeg, the I-frame interval in the settings of a camera.",
			others: []other{{
				promised, "The publisher promised to send key frames when asked (PLI), and does not. Segments become long.",
				"Publish anew from the browser. If it stays, choose a smaller size: the encoder may be overloaded.",
			}},
		},
		bFrameTimes: {
			code:   BFrameTimes,
			words:  "The encoder sends B-frames with the timestamps of other pictures: motion stutters everywhere, and cannot be repaired here.",
			remedy: "In OBS set B-frames to 0 (NVENC: also Tuning other than “Ultra High Quality” and Look-ahead off; x264: bframes=0 in the x264 options, or Tune “zerolatency”). In FFmpeg use -bf 0.",
		},
		bFrames: {
			code:   BFrames,
			words:  "The encoder sends B-frames: HLS players show them, viewers in real time see stutter, and latency grows.",
			remedy: "In OBS set B-frames to 0 (x264: bframes=0 in the x264 options, or Tune “zerolatency”). In FFmpeg use -bf 0.",
		},
		resolutionThrash: {
			code: ResolutionThrash, unit: "/min",
			words:  "The size of the picture changed # times within a minute. Each change is a cut in the stream, and players may flicker.",
			remedy: "A browser adapts to a slow uplink or processor: choose a smaller size or bit rate on the publish page, use a wire instead of Wi-Fi. In a page of your own set contentHint to “detail”, or degradationPreference to “maintain-resolution”.",
		},
		frozenPicture: {
			code: FrozenPicture, unit: "s",
			words:  "The picture has not changed for # s. A camera that froze and a slide that is meant to stand still look the same from here.",
			remedy: "If it should move: in OBS deactivate and activate the camera source, or start the capture again; in a browser choose the camera again.",
		},
	}
}

func soundTexts() map[symptom]text {
	return map[symptom]text{
		silence: {
			code: Silence, unit: "s",
			words:  "There has been no sound for # s. A pause that is meant and a microphone that is muted look the same from here.",
			remedy: "In OBS see whether the mixer moves: the source may be muted, or Settings → Audio names another device. In a browser choose the microphone again, and see that neither it nor the system has it muted.",
		},
		monoAudio: {
			code: MonoAudio, unit: "%",
			words:  "The sound is mono, though stereo was asked for: #% of the packets have one channel. Harmless for speech.",
			remedy: "For music: in OBS set Settings → Audio → Channels to Stereo, and “Mono” off in Advanced Audio Properties. On the publish page turn “Clean up a voice” off. In FFmpeg use -ac 2 and at least -b:a 96k.",
		},
		opusDTX: {
			code: OpusDTX, unit: "%",
			words:  "The sender leaves out pauses (Opus DTX): #% of the last seconds were not sent. The gateway fills them with silence, which may sound cut off.",
			remedy: "Turn DTX off: in FFmpeg -dtx 0, in a page of your own no usedtx=1 in the SDP. OBS does not use it.",
		},
	}
}
