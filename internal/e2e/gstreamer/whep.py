"""A WHEP viewer made of GStreamer's webrtcbin, in the way of its whepsrc.

    whep.py URL TOKEN CAPS...

CAPS are what is offered, one of each section. It posts one offer that has all its
candidates, and tells twice a second, in lines of JSON, what was decoded so far. SIGTERM
or SIGINT ends it, and its session by DELETE.
"""

import json
import signal
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC

DECODE = {
    "video": "queue ! rtph264depay ! h264parse ! avdec_h264 ! fakesink name=sink",
    "audio": "queue ! rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE ! fakesink name=sink",
}


def say(**words):
    print(json.dumps(words), flush=True)


class Viewer:
    def __init__(self, url, token, caps):
        self.url, self.token = url, token
        self.session = self.layer = None
        self.lock = threading.Lock()
        self.seen = {"pictures": 0, "size": [0, 0], "gap": 0.0, "back": 0, "sound": 0, "loud": 0}
        self.last = {}
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline.new()
        self.rtc = Gst.ElementFactory.make("webrtcbin")
        self.rtc.set_property("bundle-policy", "max-bundle")
        self.agent = self.rtc.get_property("ice-agent")  # webrtcbin's own reference is a floating one
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.pipeline.add(self.rtc)
        self.rtc.connect("pad-added", self.on_pad)
        self.rtc.connect("notify::ice-gathering-state", self.on_gathering)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, m: self.fail(m.parse_error()[0].message))
        for one in caps:
            self.rtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(one))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.rtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self.on_offer))

    def fail(self, words):
        say(error=words)
        self.loop.quit()

    def on_offer(self, promise):
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.rtc.emit("set-local-description", offer, None)

    def on_gathering(self, *_):
        if self.rtc.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def request(self, method, url, body=None):
        headers = {"Authorization": "Bearer " + self.token} if self.token else {}
        if body is not None:
            headers["Content-Type"] = "application/sdp"
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=10)

    def post(self):
        offer = self.rtc.get_property("local-description").sdp.as_text()
        try:
            with self.request("POST", self.url, offer.encode()) as res:
                answer = res.read()
                self.session = urllib.parse.urljoin(self.url, res.headers["Location"])
                links = res.headers.get_all("Link") or []
        except urllib.error.HTTPError as e:
            self.fail(f"{e.code} {e.read().decode()}")
            return False
        for link in ",".join(links).split(","):
            if "ext:core:layer" in link:
                self.layer = urllib.parse.urljoin(self.url, link[link.index("<") + 1:link.index(">")])
        _, sdp = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer, sdp)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.rtc.emit("set-remote-description", description, None)
        say(session=self.session, layer=self.layer)
        return False

    def on_pad(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        decode = Gst.parse_bin_from_description(DECODE[kind], True)
        self.pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))
        sink = decode.get_by_name("sink").get_static_pad("sink")
        sink.add_probe(Gst.PadProbeType.BUFFER, self.on_picture if kind == "video" else self.on_sound)

    def on_picture(self, pad, info):
        buffer, caps = info.get_buffer(), pad.get_current_caps().get_structure(0)
        width, height = caps.get_value("width"), caps.get_value("height")
        with self.lock:
            s, now = self.seen, time.monotonic()
            s["pictures"] += 1
            s["size"] = [width, height]
            s["gap"] = max(s["gap"], now - self.last.get("picture", now))
            s["back"] += buffer.pts <= self.last.get("pts", -1)
            self.last.update(picture=now, pts=buffer.pts)
        return Gst.PadProbeReturn.OK

    def on_sound(self, _, info):
        samples = memoryview(info.get_buffer().extract_dup(0, info.get_buffer().get_size())).cast("h")
        with self.lock:
            self.seen["sound"] += 1
            self.seen["loud"] = max(self.seen["loud"], max(samples, default=0))
        return Gst.PadProbeReturn.OK

    def report(self):
        with self.lock:
            if self.session:
                say(**self.seen)
            self.seen.update(gap=0.0, loud=0)
        return True

    def run(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, number, self.loop.quit)
        GLib.timeout_add(500, self.report)
        self.loop.run()
        if self.session:
            try:
                with self.request("DELETE", self.session) as res:
                    say(deleted=res.status)
            except urllib.error.HTTPError as e:
                say(deleted=e.code)
        self.pipeline.set_state(Gst.State.NULL)


def main():
    Gst.init(None)
    Viewer(sys.argv[1], sys.argv[2], sys.argv[3:]).run()


if __name__ == "__main__":
    main()
