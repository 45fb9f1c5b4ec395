#!/bin/sh
# Makes clip.mp4, the test source's loop of 10 s, and the same pictures at a half
# and a quarter of its width and height, with Debian's ffmpeg and
# fonts-dejavu-core. Run it in this folder; then `go test .` measures the result.
#
# What the picture shows is told in testclip.go; the constants there and the
# numbers here belong together.
set -eu
cd "$(dirname "$0")"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bold=/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf
mono=/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf

# Nine boxes count the frames in binary, least significant bit at the right.
code=
bit=0
while [ "$bit" -lt 9 ]; do
  x=$((360 + (8 - bit) * 64))
  code="$code,drawbox=x=$x:y=560:w=48:h=48:color=0x2b3a4a:t=fill"
  code="$code,drawbox=x=$x:y=560:w=48:h=48:color=white:t=fill:enable='mod(floor(n/pow(2,$bit)),2)'"
  bit=$((bit + 1))
done

# A calm background, a clock, a bar that sweeps once a second, the frame code,
# and the flash: a white box at the top right in the first 3 frames of each second.
picture="[0:v]drawtext=fontfile=$bold:text='WHIPCAST':x=80:y=64:fontsize=56:fontcolor=white
,drawtext=fontfile=$bold:text='test source':x=80:y=132:fontsize=30:fontcolor=0x9fb3c8
,drawtext=fontfile=$mono:text='%{pts\\:hms}':x=(w-text_w)/2:y=300:fontsize=124:fontcolor=white
,drawbox=x=960:y=0:w=320:h=240:color=0x1c2836:t=fill
,drawbox=x=960:y=0:w=320:h=240:color=white:t=fill:enable='lt(mod(n,30),3)'
$code[back];[back][1:v]overlay=x='1280*mod(t,1)-24':y=660:shortest=1,format=yuv420p,split=3[v][w][x]
;[w]scale=640:360:flags=area[half];[x]scale=320:180:flags=area[quarter]"

# No B-frames, one slice a picture, a keyframe each second and nowhere else.
x264='-c:v libx264 -profile:v baseline -preset veryslow -tune zerolatency -crf 20
  -g 30 -keyint_min 30 -sc_threshold 0 -threads 1 -bitexact'

ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i color=0x101a26:size=1280x720:rate=30:duration=10 \
  -f lavfi -i color=0x35c3a0:size=48x36:rate=30:duration=10 \
  -filter_complex "$(printf '%s' "$picture" | tr -d '\n')" \
  -map '[v]' $x264 -level 3.1 "$work/video.mp4" \
  -map '[half]' $x264 half.mp4 \
  -map '[quarter]' $x264 quarter.mp4

# The beep is 1 kHz for 100 ms, from each whole second on. Three loops are
# encoded and the middle one is kept, so that the end fits the beginning. The
# 312 samples by which the Opus encoder is late are cut off in front, so that a
# decoder that is fed by RTP, which knows no pre-skip, beeps in time.
beep="if(lt(mod(t,1),0.1),0.5*sin(2*PI*1000*mod(t,1)),0)"
ffmpeg -hide_banner -loglevel error -y \
  -f lavfi -i "aevalsrc='$beep|$beep':sample_rate=48000:duration=31" \
  -af "atrim=start_sample=312,asetpts=N/SR/TB" \
  -c:a libopus -b:a 64k -vbr on -frame_duration 20 -application audio -bitexact "$work/audio.ogg"

ffmpeg -hide_banner -loglevel error -y -i "$work/video.mp4" -i "$work/audio.ogg" -map 0:v -map 1:a -c copy \
  -bsf:a "noise=amount=0:drop='lt(n,500)+gte(n,1000)',setts=ts=N*960" \
  -use_editlist 0 -movflags +faststart -bitexact clip.mp4
