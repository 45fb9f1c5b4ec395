#!/bin/sh
# Makes the Opus files of this folder with Debian's ffmpeg and its libopus. Run it
# in this folder; the tests know the signals, so change both together.
set -eu
cd "$(dirname "$0")"

make() { # name, filter graph, encoder options…
  name=$1 graph=$2
  shift 2
  ffmpeg -hide_banner -loglevel error -y -f lavfi -i "$graph" -ar 48000 \
    -c:a libopus -threads 1 -bitexact -map_metadata -1 "$@" "$name.opus"
}

# Left 440 Hz, right 1000 Hz, which tells the channels apart.
make sine "aevalsrc=0.4*sin(2*PI*440*t)|0.2*sin(2*PI*1000*t):s=48000:d=2" -b:a 64k -application audio
# A beep of 1 kHz and 100 ms at every half second, exact to the sample.
make beep "aevalsrc=0.5*sin(2*PI*1000*t)*lt(mod(t\,0.5)\,0.1):s=48000:d=3" -b:a 48k -application audio -ac 2
# Something like music: chords with overtones, a beat of noise, moving stereo.
make music "aevalsrc='0.12*(sin(2*PI*220*t)+sin(2*PI*277.18*t)+sin(2*PI*329.63*t)+0.5*sin(2*PI*880*t)*sin(2*PI*0.7*t))+0.15*(random(0)-0.5)*exp(-12*mod(t\,0.25))|0.12*(sin(2*PI*220*t+1)+sin(2*PI*277.18*t)+sin(2*PI*440*t))+0.1*(random(1)-0.5)*exp(-9*mod(t+0.1\,0.5))':s=48000:d=4" -b:a 96k -application audio
# Something like a voice: harmonics of a moving pitch in syllables.
voice="0.3*(sin(PI*240*t+6*sin(2*PI*t))+0.6*sin(PI*480*t+12*sin(2*PI*t))+0.4*sin(PI*960*t+24*sin(2*PI*t))+0.1*(random(0)-0.5))*max(0\,sin(2*PI*2*t))"
make silk "aevalsrc=$voice:s=48000:d=2" -ac 1 -b:a 10k -application voip
make silk60 "aevalsrc=$voice:s=48000:d=2" -ac 1 -b:a 10k -application voip -frame_duration 60
make hybrid "aevalsrc=$voice:s=48000:d=2" -ac 1 -b:a 26k -application voip
make mono "aevalsrc=0.4*sin(2*PI*440*t):s=48000:d=1" -ac 1 -b:a 64k -application audio
make short "aevalsrc=0.4*sin(2*PI*440*t)|0.2*sin(2*PI*1000*t):s=48000:d=1" -b:a 64k -application lowdelay -frame_duration 2.5
