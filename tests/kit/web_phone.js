// A phone in a page: a tone is what it says, and what it hears can be looked at. Its session
// descriptions are the browser's own, once it has gathered its addresses (JSEP, RFC 9429).
window.phone = {
  start(hz, codecs) {
    this.connection?.close();
    this.context?.close();
    const context = this.context = new AudioContext({ sampleRate: 48000 });
    const tone = context.createOscillator();
    const volume = context.createGain();
    const mouth = context.createMediaStreamDestination();
    tone.frequency.value = hz;
    volume.gain.value = 0.5;
    mouth.channelCount = 1;
    tone.connect(volume).connect(mouth);
    tone.start();
    this.ear = context.createAnalyser();
    this.ear.fftSize = 32768;
    const connection = this.connection = new RTCPeerConnection({ iceServers: [] });
    connection.ontrack = ({ track }) => {
      const stream = new MediaStream([track]);
      // Chromium gives sound to a graph only while something plays it as well.
      this.player = new Audio();
      this.player.srcObject = stream;
      this.player.play();
      context.createMediaStreamSource(stream).connect(this.ear);
    };
    const [track] = mouth.stream.getAudioTracks();
    connection.addTrack(track, mouth.stream);
    if (codecs) {
      const all = RTCRtpReceiver.getCapabilities('audio').codecs;
      const wanted = all.filter(({ mimeType }) => codecs.includes(mimeType.toLowerCase()));
      connection.getTransceivers()[0].setCodecPreferences(wanted);
    }
  },

  // What it says of itself, with all its addresses.
  async described() {
    await this.connection.setLocalDescription();
    while (this.connection.iceGatheringState !== 'complete') {
      await new Promise((done) => {
        this.connection.addEventListener('icegatheringstatechange', done, { once: true });
      });
    }
    return this.connection.localDescription.sdp;
  },

  async offer(direction) {
    this.connection.getTransceivers()[0].direction = direction;
    return this.described();
  },

  async take(sdp) {
    await this.connection.setRemoteDescription({ type: 'answer', sdp });
  },

  async answer(sdp) {
    await this.connection.setRemoteDescription({ type: 'offer', sdp });
    return this.described();
  },

  // The last two thirds of a second of what it hears.
  heard() {
    const samples = new Float32Array(this.ear.fftSize);
    this.ear.getFloatTimeDomainData(samples);
    const clipped = (sample) => Math.max(-1, Math.min(1, sample));
    return Array.from(samples, (sample) => Math.round(clipped(sample) * 32767));
  },

  // What the browser itself has measured, by kind.
  async measured() {
    const found = {};
    for (const report of (await this.connection.getStats()).values()) {
      found[report.type] = report;
    }
    return found;
  },
};
