"""A real softphone, PJSIP, run without a face: it registers, dials, answers, plays a tone and writes
down what it hears.

One account a process. Its settings are one JSON object as the only argument. It is told what to do by
lines on its standard input, and says what happens by lines on its standard output:

    call ADDRESS | hang_up | hold | resume | listen SECONDS FILE | quit
    registered CODE WHY | call STATE CODE | sound STATE | heard FILE | cannot COMMAND: WHY

A process that holds a library with threads of its own does not always end well; it ends itself.
"""

import json
import os
import queue
import sys
import threading
import time

import pjsua2 as pj

TICK_MS = 10
SOUND = {
    pj.PJSUA_CALL_MEDIA_NONE: "none",
    pj.PJSUA_CALL_MEDIA_ACTIVE: "both_ways",
    pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "held_by_us",
    pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "held_by_them",
    pj.PJSUA_CALL_MEDIA_ERROR: "broken",
}
SRTP = {
    "off": pj.PJMEDIA_SRTP_DISABLED,
    "optional": pj.PJMEDIA_SRTP_OPTIONAL,
    "mandatory": pj.PJMEDIA_SRTP_MANDATORY,
}


def is_whole(path):
    """Whether the header of a recording says how long the file is."""
    with open(path, "rb") as file:
        header = file.read(44)
    return len(header) == 44 and int.from_bytes(header[4:8], "little") + 8 == os.path.getsize(path)


def say(*words):
    print(*words, flush=True)


class Call(pj.Call):
    """A call; what it carries is joined to the phone's tone as soon as it carries anything."""

    def __init__(self, phone, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(phone.account, call_id)
        self.phone = phone

    def onCallState(self, _):
        info = self.getInfo()
        say("call", info.stateText, info.lastStatusCode)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.phone.ended(self)

    def onCallMediaState(self, _):
        # The list lives only as long as what it is a part of.
        info = self.getInfo()
        for index, media in enumerate(info.media):
            say("sound", SOUND.get(media.status, "unknown"))
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status in (
                pj.PJSUA_CALL_MEDIA_ACTIVE,
                pj.PJSUA_CALL_MEDIA_REMOTE_HOLD,
            ):
                self.phone.join(self.getAudioMedia(index))


class Account(pj.Account):
    """The extension."""

    def __init__(self, phone):
        super().__init__()
        self.phone = phone

    def onRegState(self, state):
        say("registered", state.code, state.reason)

    def onIncomingCall(self, incoming):
        self.phone.ring(incoming.callId)


class Phone:
    """All of it: the library, the tone, the one account and its one call."""

    def __init__(self, settings):
        self.settings = settings
        self.call = self.heard = self.recorder = None
        self.recording = self.stops_at = self.written = None
        self.answer_at = None
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.logConfig.filename = settings["log"]
        config.logConfig.level = 5
        config.logConfig.consoleLevel = 0
        # All happens in this thread, between two commands.
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        # As fast as its best codec, or nothing wide would pass through its bridge.
        rate = 8000 if settings["codecs"][0].endswith("/8000") else 16000
        config.medConfig.clockRate = rate
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        self.endpoint.libInit(config)
        transport = self.open()
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        for codec in self.endpoint.codecEnum2():
            self.endpoint.codecSetPriority(codec.codecId, 0)
        for rank, codec in enumerate(settings["codecs"]):
            self.endpoint.codecSetPriority(codec, 200 - rank)
        self.tone = pj.ToneGenerator()
        self.tone.createToneGenerator(rate, 1)
        sine = pj.ToneDesc()
        sine.freq1, sine.on_msec, sine.off_msec = settings["tone"], 30000, 0
        tones = pj.ToneDescVector()
        tones.append(sine)
        self.tone.play(tones, True)
        self.account = Account(self)
        self.account.create(self.as_account(transport))

    def open(self):
        kinds = {
            "udp": pj.PJSIP_TRANSPORT_UDP,
            "tcp": pj.PJSIP_TRANSPORT_TCP,
            "tls": pj.PJSIP_TRANSPORT_TLS,
        }
        config = pj.TransportConfig()
        config.port = self.settings["port"]
        config.boundAddress = self.settings["ip"]
        if self.settings["over"] == "tls":
            config.tlsConfig.CaListFile = self.settings["authority"]
            config.tlsConfig.verifyServer = True
        return self.endpoint.transportCreate(kinds[self.settings["over"]], config)

    def as_account(self, transport):
        settings, config = self.settings, pj.AccountConfig()
        config.idUri = f"sip:{settings['number']}@{settings['domain']}"
        config.regConfig.registrarUri = f"sip:{settings['domain']}"
        config.regConfig.timeoutSec = 600
        # Whose connection breaks comes back as soon as it can.
        config.regConfig.retryIntervalSec = config.regConfig.firstRetryIntervalSec = 1
        config.regConfig.randomRetryIntervalSec = 0
        sip, media, call = config.sipConfig, config.mediaConfig, config.callConfig
        sip.transportId = transport
        sip.proxies.append(f"sip:{settings['proxy']};transport={settings['over']};lr")
        credentials = ("digest", "*", settings["number"], 0, settings["password"])
        sip.authCreds.append(pj.AuthCredInfo(*credentials))
        media.transportConfig.boundAddress = settings["ip"]
        media.transportConfig.port = settings["sound"]
        media.transportConfig.portRange = 10
        media.srtpUse = SRTP[settings["srtp"]]
        media.srtpSecureSignaling = 1 if settings["srtp"] == "mandatory" else 0
        if settings["strict"]:
            call.prackUse = pj.PJSUA_100REL_MANDATORY
            call.timerUse = pj.PJSUA_SIP_TIMER_REQUIRED
            call.timerMinSESec = 90
            call.timerSessExpiresSec = 90
        return config

    def ring(self, call_id):
        self.call = Call(self, call_id)
        ringing = pj.CallOpParam()
        ringing.statusCode = 180
        self.call.answer(ringing)
        # A phone that rings is seen ringing.
        self.answer_at = time.monotonic() + 0.3

    def join(self, sound):
        self.heard = sound
        self.tone.startTransmit(sound)
        if self.recorder:
            sound.startTransmit(self.recorder)

    def ended(self, call):
        if call is self.call:
            self.call = self.heard = self.answer_at = None

    def obey(self, line):
        command, *words = line.split()
        if command == "call":
            self.call = Call(self)
            self.call.makeCall(words[0], pj.CallOpParam(True))
        elif command == "hang_up":
            self.call.hangup(pj.CallOpParam())
        elif command == "hold":
            self.call.setHold(pj.CallOpParam(True))
        elif command == "resume":
            parameters = pj.CallOpParam(True)
            parameters.opt.flag = pj.PJSUA_CALL_UNHOLD
            self.call.reinvite(parameters)
        elif command == "listen":
            self.recording, self.recorder = words[1], pj.AudioMediaRecorder()
            self.recorder.createRecorder(self.recording)
            if self.heard:
                self.heard.startTransmit(self.recorder)
            self.stops_at = time.monotonic() + float(words[0])
        elif command == "quit":
            # Only then its log is whole.
            self.tone = self.account = self.call = self.heard = None
            self.endpoint.libDestroy()
            os._exit(0)
        else:
            say("cannot", command, ": it is unknown")

    def tick(self):
        self.endpoint.libHandleEvents(TICK_MS)
        now = time.monotonic()
        if self.answer_at and now >= self.answer_at:
            self.answer_at = None
            answer = pj.CallOpParam()
            answer.statusCode = 200
            self.call.answer(answer)
        if self.stops_at and now >= self.stops_at:
            # Only a recorder that is gone has written all, and it goes when nobody looks.
            self.recorder = self.stops_at = None
            self.written = self.recording
        if self.written and is_whole(self.written):
            say("heard", self.written)
            self.written = None


def main():
    commands = queue.Queue()

    def read():
        for line in sys.stdin:
            commands.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    phone = Phone(json.loads(sys.argv[1]))
    while True:
        phone.tick()
        while not commands.empty():
            line = commands.get()
            try:
                phone.obey(line)
            except Exception as error:  # The library's errors have no class of their own.
                say("cannot", line.strip(), ":", str(error).replace("\n", " "))


main()
