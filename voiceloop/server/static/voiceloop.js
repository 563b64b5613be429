// voiceloop in a page: the microphone goes up, speech comes down, and it can be interrupted.
//
//   import { VoiceLoop } from "https://your.server/static/voiceloop.js";
//   const loop = new VoiceLoop();                       // { url: "wss://your.server/ws" } for another server
//   loop.on("transcript", ({ role, text }) => console.log(role, text));
//   button.onclick = () => loop.start();                // of a click: browsers give sound and microphone only then
//
// No other file is needed: this one is its own AudioWorklet module, so a strict Content-Security-Policy suffices.
// The protocol is that of voiceloop/wire/bridge.py. Positions are samples on both sides: the microphone's since the
// session began, a reply's since the reply began. So nothing is lost or said twice when the network is gone for a while.

const MIC_HZ = 16000;
const VOICE_HZ = 24000;
const FRAME_S = 0.02;
const FADE_S = 0.004; // long enough against a click, too short to be heard as a fade
const KEEP_MIC_S = 30;
const REPORT_MS = 200;
const SOCKET_S = 0.2; // sound that may wait inside the socket; more stays here, where it can be sent again
const LAG_S = 5; // a line that is slower than speech: what is older than this is given up
const SILENT_MS = 2500; // a line that acknowledged and stopped doing so for this long is dead
const DOUBT_MS = 500; // after a page stood still, its messages are read later than its microphone
const OPEN_MS = 5000; // a connection that does not come about by then is tried anew
const QUEUE_S = 120; // a server that sends everything at once; ours sends 0.4 s ahead
const KEPT_REPLIES = 32;

const dB = (power) => 10 * Math.log10(power + 1e-9);

// ---------------------------------------------------------------------------------------------------- pure logic

/** Another sample rate for a stream: windowed sinc, in phases; holds back about 1 ms. */
export class Resampler {
  constructor(from, to) {
    const divisor = (a, b) => (b ? divisor(b, a % b) : a);
    const common = divisor(from, to);
    this.up = to / common;
    this.down = from / common;
    const wide = Math.max(1, from / to);
    this.half = Math.ceil(16 * wide);
    this.time = 0; // of the next sample that goes out, in 1/up samples behind the start of `kept`
    this.kept = new Float32Array(this.half * 2);
    const cut = 0.92 / wide;
    this.phases = Array.from({ length: this.up }, (_, phase) => {
      const taps = Float32Array.from({ length: 2 * this.half }, (_, i) => {
        const x = i - this.half + 1 - phase / this.up;
        const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / (this.half + 1));
        return window * (x === 0 ? cut : Math.sin(Math.PI * x * cut) / (Math.PI * x));
      });
      const sum = taps.reduce((a, b) => a + b, 0);
      return taps.map((tap) => tap / sum);
    });
  }

  process(pcm) {
    if (this.up === this.down) return pcm;
    const all = new Float32Array(this.kept.length + pcm.length);
    all.set(this.kept);
    all.set(pcm, this.kept.length);
    const out = [];
    let first = Math.floor(this.time / this.up);
    while (first + 2 * this.half <= all.length) {
      const taps = this.phases[this.time % this.up];
      let sum = 0;
      for (let i = 0; i < taps.length; i++) sum += taps[i] * all[first + i];
      out.push(sum);
      this.time += this.down;
      first = Math.floor(this.time / this.up);
    }
    const drop = Math.min(first, all.length);
    this.kept = all.slice(drop);
    this.time -= drop * this.up;
    return Float32Array.from(out);
  }
}

/** Blocks of any size become s16le frames of 20 ms. */
export class Framer {
  constructor(rate) {
    this.resampler = new Resampler(rate, MIC_HZ);
    this.size = MIC_HZ * FRAME_S;
    this.frame = new Int16Array(this.size);
    this.n = 0;
  }

  process(block) {
    const frames = [];
    for (const x of this.resampler.process(block)) {
      this.frame[this.n++] = Math.max(-32768, Math.min(32767, Math.round(x * 32768)));
      if (this.n === this.size) {
        frames.push(this.frame);
        this.frame = new Int16Array(this.size);
        this.n = 0;
      }
    }
    return frames;
  }
}

/** What the microphone heard and the server may still need: the last 30 s. Positions are those of the server. */
export class MicBuffer {
  constructor(rate = MIC_HZ, most_s = KEEP_MIC_S) {
    this.rate = rate;
    this.ring = new Int16Array(rate * most_s);
    this.first = 0; // oldest sample that is kept
    this.sent = 0; // next sample to be sent
    this.heard = 0; // behind the newest
    this.lost = 0; // samples that will never be sent: the ring's positions run ahead of the server's by so many
  }

  /** What the server's position will be once everything has been sent. */
  get position() {
    return this.heard - this.lost;
  }

  get waiting() {
    return this.heard - this.sent;
  }

  push(pcm) {
    for (let i = 0; i < pcm.length; i++) this.ring[(this.heard + i) % this.ring.length] = pcm[i];
    this.heard += pcm.length;
    this.first = Math.max(this.first, this.heard - this.ring.length);
    if (this.sent < this.first) this.#giveUp(this.first - this.sent);
  }

  /** Gives up the oldest of what waits, down to n samples. */
  shorten(n) {
    if (this.waiting > n) this.#giveUp(this.waiting - n);
  }

  /** The server has everything before its sample n. */
  ack(n) {
    this.first = Math.min(this.sent, Math.max(this.first, n + this.lost));
  }

  /** The server has n samples: the next to be sent is that one. */
  rewind(n) {
    const wanted = Math.min(n + this.lost, this.heard);
    if (wanted < this.first) this.lost = this.first - n;
    this.sent = Math.max(wanted, this.first);
  }

  /** At most n samples that were not sent yet; null if nothing waits. */
  take(n) {
    const size = Math.min(n, this.waiting);
    if (size <= 0) return null;
    const out = new Int16Array(size);
    for (let i = 0; i < size; i++) out[i] = this.ring[(this.sent + i) % this.ring.length];
    this.sent += size;
    return out;
  }

  #giveUp(n) {
    this.lost += n;
    this.sent += n;
    this.first = Math.max(this.first, this.sent);
  }
}

/**
 * Speech on its way to the loudspeaker: an adaptive jitter buffer that counts what was really played of each reply.
 *
 * It begins once `target` samples are there (or no more will come, or none came for longer than that), and again after
 * it ran dry in the middle of a reply: then the target grows; a long time without that lets it shrink again. Samples
 * that it had before are skipped, so a server that is not sure may send them again.
 */
export class Player {
  constructor(rate, { first_s = 0.08, least_s = 0.06, most_s = 0.3, calm_s = 20 } = {}) {
    Object.assign(this, { rate, least: least_s * rate, most: most_s * rate, calm: calm_s * rate });
    this.target = first_s * rate;
    this.queue = []; // { reply, at, pcm }
    this.waiting = 0; // samples in it
    this.sounding = false;
    this.patience = 0; // samples of silence while something waits
    this.played = new Map(); // reply -> samples
    this.wanted = new Map(); // reply -> first sample that it does not have
    this.ended = new Set(); // replies of which no more will come
    this.dropped = new Set(); // replies of which nothing is to be played any more
    this.dry = null; // { reply, n }: it ran dry n samples ago, maybe too early
    this.underruns = 0;
    this.quiet = 0; // samples played since the last underrun
    this.tail = null; // what falls to zero after a flush
    this.rise = Infinity; // samples since sound began
    this.fade = Math.round(FADE_S * rate);
  }

  push(reply, at, pcm) {
    if (this.dropped.has(reply) || this.waiting > QUEUE_S * this.rate) return;
    const wanted = this.wanted.get(reply) ?? at;
    const from = Math.max(0, wanted - at);
    if (from >= pcm.length) return;
    if (this.dry?.reply === reply) this.#ranDry(this.dry.n);
    this.dry = null;
    if (!this.queue.length) this.patience = 0;
    this.queue.push({ reply, at: at + from, pcm: pcm.subarray(from) });
    this.waiting += pcm.length - from;
    this.#note(this.wanted, reply, at + pcm.length);
  }

  /** No more of the reply will come: what there is of it is played, however little. */
  end(reply) {
    this.ended.add(reply);
    if (this.ended.size > KEPT_REPLIES) this.ended.delete(this.ended.values().next().value);
    if (this.dry?.reply === reply) this.dry = null;
  }

  /** Stops now, and drops the rest. drop: also what still comes of these replies. Returns [reply, samples] of each. */
  flush({ drop = false } = {}) {
    const last = [...this.played.keys()].pop();
    const replies = new Set(last === undefined ? [] : [last]);
    for (const { reply, at } of this.queue) {
      if (!this.played.has(reply)) this.#note(this.played, reply, at);
      replies.add(reply);
    }
    if (this.sounding) this.#fadeOut();
    for (const reply of replies) {
      this.wanted.set(reply, this.played.get(reply));
      if (drop) this.dropped.add(reply);
    }
    Object.assign(this, { queue: [], waiting: 0, sounding: false, dry: null });
    return [...replies].map((reply) => [reply, this.played.get(reply)]);
  }

  /** The next samples for the loudspeaker, silence where there is nothing. Returns the reply that ran out, or null. */
  pull(out) {
    out.fill(0);
    if (this.tail) this.#fallOff(out);
    if (!this.sounding && !this.#begins(out.length)) return null;
    let n = 0;
    let reply = null;
    while (n < out.length && this.queue.length) {
      const head = this.queue[0];
      const size = Math.min(head.pcm.length, out.length - n);
      for (let i = 0; i < size; i++, this.rise++) {
        out[n + i] += head.pcm[i] * Math.min(1, this.rise / this.fade);
      }
      n += size;
      reply = head.reply;
      head.at += size;
      this.#note(this.played, reply, head.at);
      if (size === head.pcm.length) this.queue.shift();
      else head.pcm = head.pcm.subarray(size);
    }
    this.waiting -= n;
    this.#calmDown(n);
    if (this.queue.length) return null;
    const edge = Math.min(this.fade, n);
    for (let i = 0; i < edge; i++) out[n - edge + i] *= 1 - (i + 1) / edge;
    this.sounding = false;
    this.patience = 0;
    if (!this.ended.has(reply)) this.dry = { reply, n: out.length - n };
    return reply;
  }

  #begins(n) {
    if (this.dry) this.dry.n += n;
    if (!this.queue.length) return false;
    this.patience += n;
    const { reply, at } = this.queue[0];
    if (this.waiting < this.target && this.patience < 1.5 * this.target && !this.ended.has(reply)) return false;
    this.sounding = true;
    this.rise = at > 0 ? 0 : this.fade; // in the middle of a word it rises; a beginning is a beginning
    return true;
  }

  #ranDry(n) {
    this.underruns++;
    this.quiet = 0;
    if (n < this.rate) this.target = Math.min(this.most, this.target * 1.5); // a longer gap is no jitter
  }

  #calmDown(n) {
    this.quiet += n;
    if (this.quiet < this.calm) return;
    this.quiet = 0;
    this.target = Math.max(this.least, this.target * 0.85);
  }

  #fadeOut() {
    this.tail = new Float32Array(this.fade);
    let n = 0;
    for (const { pcm } of this.queue) {
      for (let i = 0; i < pcm.length && n < this.fade; i++, n++) this.tail[n] = pcm[i] * (1 - (n + 1) / this.fade);
    }
  }

  #fallOff(out) {
    const n = Math.min(out.length, this.tail.length);
    for (let i = 0; i < n; i++) out[i] += this.tail[i];
    this.tail = n < this.tail.length ? this.tail.subarray(n) : null;
  }

  #note(map, reply, n) {
    if (!map.has(reply) && map.size >= KEPT_REPLIES) map.delete(map.keys().next().value);
    map.set(reply, n);
  }
}

/** Whether the microphone hears the loudspeaker although the browser should cancel it: do their levels move alike? */
export class EchoWatch {
  constructor({ frames = 150, lags = 15 } = {}) {
    Object.assign(this, { frames, lags, mic: [], voice: [] });
  }

  /** Levels of one frame of 20 ms, in dBFS. Returns the likeness 0..1 when a window is full, else null. */
  feed(mic, voice) {
    this.mic.push(Math.max(mic, -70));
    this.voice.push(Math.max(voice, -70));
    if (this.mic.length < this.frames + this.lags) return null;
    const likeness = this.#likeness();
    this.mic.length = this.voice.length = 0;
    return likeness;
  }

  #likeness() {
    const { frames, lags, mic, voice } = this;
    const said = voice.slice(0, frames);
    const loud = said.filter((level) => level > -45).length;
    const steady = (levels) => Math.max(...levels) - Math.min(...levels) < 10; // nothing to compare
    if (loud < frames / 4 || steady(said) || steady(mic)) return 0;
    let best = 0;
    for (let lag = 0; lag < lags; lag++) best = Math.max(best, alike(said, mic.slice(lag, lag + frames)));
    return best;
  }
}

function alike(a, b) {
  const mean = (x) => x.reduce((s, v) => s + v, 0) / x.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((v, i) => {
    ab += (v - ma) * (b[i] - mb);
    aa += (v - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  });
  return aa && bb ? Math.max(0, ab / Math.sqrt(aa * bb)) : 0;
}

/** Seconds before attempt n (0, 1, ...) to connect again; chance: 0..1, so that a thousand pages do not come at once. */
export function backoff(n, chance = Math.random()) {
  return Math.min(5, 0.25 * 2 ** n) * (0.8 + 0.4 * chance);
}

/** Captions: how many words of [word, end in samples] have begun to be said at a position. */
export function begun(words, samples) {
  let n = 0;
  while (n < words.length && (n ? words[n - 1][1] : 0) < samples) n++;
  return n;
}

// ------------------------------------------------------------------------------------------------- the sound thread

if (globalThis.AudioWorkletProcessor) {
  /** Microphone and loudspeaker in one node, so that their levels are of the same moment. */
  class Duplex extends AudioWorkletProcessor {
    constructor() {
      super();
      this.player = new Player(sampleRate);
      this.framer = new Framer(sampleRate);
      this.tick = sampleRate * FRAME_S;
      this.n = this.power = 0;
      this.frames = [];
      this.drained = [];
      this.port.onmessage = ({ data }) => this.take(data);
    }

    take({ kind, reply, at, pcm, drop }) {
      if (kind === "push") this.player.push(reply, at, pcm);
      else if (kind === "end") this.player.end(reply);
      else if (kind === "reset") this.player = new Player(sampleRate);
      else if (kind === "flush") this.tell({ flushed: this.player.flush({ drop }) });
    }

    process([input], [output]) {
      const out = output[0];
      const drained = this.player.pull(out);
      if (drained !== null) this.drained.push(drained);
      for (let i = 0; i < out.length; i++) this.power += out[i] * out[i];
      // The first channel: some devices claim two and fill one.
      if (input[0]) this.frames.push(...this.framer.process(input[0]));
      this.n += out.length;
      if (this.n >= this.tick) {
        this.tell({ voice: dB(this.power / this.n) });
        this.n = this.power = 0;
      }
      return true;
    }

    tell(more) {
      const { player, frames, drained } = this;
      const replies = [...player.played].slice(-4);
      const { underruns, sounding, target } = player;
      this.port.postMessage(
        { frames, drained, replies, underruns, sounding, target_ms: (1000 * target) / sampleRate, ...more },
        frames.map((frame) => frame.buffer),
      );
      this.frames = [];
      this.drained = [];
    }
  }
  registerProcessor("voiceloop", Duplex);
}

// ---------------------------------------------------------------------------------------------------- the devices

/** What can be wrong with microphone and loudspeaker, in plain words. */
export const TROUBLES = {
  insecure: "Browsers give the microphone only to secure pages. Open this page over https, or on the machine itself as http://localhost.",
  unsupported: "This browser is too old to talk with. Please use a current Firefox, Chrome, Edge or Safari.",
  denied: "The microphone is not allowed here. Click the sign to the left of the address, allow the microphone, and press again.",
  missing: "No microphone was found. Plug one in, and press again.",
  busy: "Another program is using the microphone. Close it, and press again.",
  ended: "The microphone is gone. Plug it in again, or choose another one.",
  blocked: "The browser holds the sound back until you press once.",
};

/** Something is wrong with a device. kind: a key of TROUBLES. */
export class Trouble extends Error {
  constructor(kind) {
    super(TROUBLES[kind]);
    this.kind = kind;
  }
}

const REFUSALS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

const SEEN = ["visibilitychange", "pointerdown", "keydown"];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Microphone and loudspeaker: an AudioContext with one node. on: called with what the sound thread tells. */
class Devices {
  constructor({ heard, ended, changed }) {
    Object.assign(this, { heard, ended, changed });
    this.context = this.node = this.output = this.source = this.stream = this.element = null;
    this.onchange = () => this.changed();
    // Phones stop the sound behind a call or a locked screen; it goes on when somebody looks at the page or touches it.
    this.onseen = () => {
      if (document.visibilityState === "visible" && this.context?.state !== "running") this.context?.resume();
    };
  }

  get rate() {
    return this.context.sampleRate;
  }

  /** Takes the microphone (unless it is not wanted) and begins to play. Throws a Trouble. */
  async open(microphone, deviceId, sinkId) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new Trouble("insecure");
    if (!globalThis.AudioWorkletNode) throw new Trouble("unsupported");
    const stream = microphone ? await this.#ask(deviceId) : null;
    try {
      // After the grant: a context made before is suspended, and its resume() may never settle.
      await this.#begin(new AudioContext({ sampleRate: VOICE_HZ, latencyHint: "interactive" }), stream);
    } catch (error) {
      if (error.name !== "NotSupportedError") throw this.#giveBack(stream, error);
      await this.context?.close(); // a browser that cannot join a microphone of another rate: the device's own
      await this.#begin(new AudioContext({ latencyHint: "interactive" }), stream).catch((again) => {
        throw this.#giveBack(stream, again);
      });
    }
    if (sinkId) await this.choose_speaker(sinkId).catch(() => {});
    await Promise.race([this.context.resume(), sleep(1000)]);
    navigator.mediaDevices.addEventListener("devicechange", this.onchange);
    for (const kind of SEEN) document.addEventListener(kind, this.onseen);
    if (this.context.state !== "running") throw new Trouble("blocked");
  }

  #giveBack(stream, error) {
    stream?.getTracks().forEach((track) => track.stop());
    return error;
  }

  async #ask(deviceId) {
    const wanted = { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    const ask = (audio) => navigator.mediaDevices.getUserMedia({ audio });
    try {
      if (!deviceId) return await ask(wanted);
      // One that is gone is replaced by the default.
      return await ask({ ...wanted, deviceId: { exact: deviceId } }).catch(() => ask(wanted));
    } catch (error) {
      throw new Trouble(REFUSALS[error.name] ?? "missing");
    }
  }

  async #begin(context, stream) {
    this.context = context;
    const source = stream && context.createMediaStreamSource(stream);
    await context.audioWorklet.addModule(import.meta.url);
    this.node = new AudioWorkletNode(context, "voiceloop", { outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => this.heard(data);
    this.output = context.createGain();
    this.node.connect(this.output).connect(context.destination);
    if (stream) this.#use(stream, source);
  }

  #use(stream, source = this.context.createMediaStreamSource(stream)) {
    this.release();
    this.stream = stream;
    this.source = source;
    source.connect(this.node);
    const [track] = stream.getAudioTracks();
    track.onended = () => this.stream === stream && this.ended();
  }

  get microphone() {
    return this.stream?.getAudioTracks()[0] ?? null;
  }

  /** Another microphone; without an id, the default one. Throws a Trouble. */
  async choose_microphone(deviceId) {
    this.#use(await this.#ask(deviceId));
  }

  /** Another loudspeaker, where the browser lets a page choose. */
  async choose_speaker(sinkId) {
    const { context } = this;
    if (context.setSinkId) return context.setSinkId(sinkId === "default" ? "" : sinkId);
    if (!HTMLMediaElement.prototype.setSinkId) throw new Error("This browser does not let a page choose.");
    if (!this.element) {
      const way = context.createMediaStreamDestination();
      this.element = new Audio();
      this.element.srcObject = way.stream;
      this.output.disconnect();
      this.output.connect(way);
      await this.element.play();
    }
    return this.element.setSinkId(sinkId);
  }

  release() {
    this.source?.disconnect();
    this.stream?.getTracks().forEach((track) => track.stop());
    this.source = this.stream = null;
  }

  close() {
    navigator.mediaDevices?.removeEventListener("devicechange", this.onchange);
    for (const kind of SEEN) document.removeEventListener(kind, this.onseen);
    this.release();
    this.element?.pause();
    this.context?.close().catch(() => {});
    this.context = this.node = this.output = this.element = null;
  }
}

// -------------------------------------------------------------------------------------------------- the connection

/** Close codes after which it makes no sense to come again by itself, and what they mean to a person. */
export const CLOSINGS = {
  1000: "The conversation has ended.",
  1008: "The server does not let this page in.",
  1009: "The server could not take what this page sent.",
  1011: "The server had a problem of its own.",
  4001: "This conversation goes on in another window.",
  4002: "The server did not understand this page: it may be of another version.",
  4004: "Nobody said anything for a while, so the conversation has ended.",
  4005: "The conversation has taken as long as the server allows.",
};
const BUSY = 1013;
const REFUSED = 1008;
const GONE = 1001;

/** The socket, and the next one when it is lost; the session stays. Messages of ours wait while there is none. */
class Line {
  constructor({ url, protocols, hello, played, message, sound, status }) {
    Object.assign(this, { url, protocols, hello, played, message, sound, status });
    this.mic = new MicBuffer();
    this.socket = this.token = null;
    this.ready = this.over = false; // the session takes sound; it is not to be connected any more
    this.attempts = 0;
    this.waiting = []; // messages for when it is ready
    this.acked = this.lastHeard = 0;
    this.catchingUp = false;
    this.timer = this.doubt = 0;
    this.ononline = () => this.timer && this.connect();
    globalThis.addEventListener("online", this.ononline);
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.#drop();
    this.status("connecting", { again: this.attempts > 0 || this.token !== null });
    let socket;
    try {
      socket = new WebSocket(this.url, this.protocols);
    } catch {
      return this.#lost(1006, "");
    }
    this.socket = socket;
    const resuming = this.token;
    socket.binaryType = "arraybuffer";
    // An old socket that still has something to say is not listened to.
    const mine = (then) => (event) => socket === this.socket && then(event);
    socket.onopen = mine(() => this.#greet(resuming));
    socket.onmessage = mine(({ data }) => this.#take(data));
    socket.onclose = mine(({ code, reason }) => this.#lost(code, reason, resuming));
    this.lastHeard = performance.now();
    this.doubt = setTimeout(mine(() => socket.readyState === WebSocket.CONNECTING && this.#lost(1006, "")), OPEN_MS);
  }

  /** Sends a message, or keeps it until it can be sent. now: a late one would be of no use. */
  send(message, { now = false } = {}) {
    if (this.ready) this.socket.send(JSON.stringify(message));
    else if (!now && !this.over) this.waiting = [...this.waiting, message].slice(-32);
  }

  /** What the microphone heard: 20 ms. It is sent when it can be. */
  hear(frame) {
    this.mic.push(frame);
    if (!this.ready) return;
    if (this.acked && this.#silent && !this.doubt) {
      this.doubt = setTimeout(() => (this.#silent ? this.#lost(1006, "") : (this.doubt = 0)), DOUBT_MS);
    }
    this.#pump();
  }

  close() {
    if (this.ready) this.send({ type: "end" });
    this.over = true;
    clearTimeout(this.timer);
    globalThis.removeEventListener("online", this.ononline);
    this.#drop();
  }

  get #silent() {
    return performance.now() - this.lastHeard > SILENT_MS;
  }

  #greet(token) {
    clearTimeout(this.doubt);
    this.doubt = 0;
    const first = token
      ? { type: "resume", token, mic: this.mic.position, played: this.played() }
      : { type: "start", ...this.hello() };
    this.socket.send(JSON.stringify(first));
  }

  #take(data) {
    this.lastHeard = performance.now();
    if (typeof data !== "string") return this.sound(data);
    const message = JSON.parse(data);
    if (message.type === "ready") {
      this.token = message.token;
      this.#begin({ again: false });
    } else if (message.type === "resumed") {
      this.mic.rewind(message.mic);
      this.#begin({ again: true });
    } else if (message.type === "ack") {
      this.acked = message.mic;
      this.mic.ack(message.mic);
    }
    this.message(message);
  }

  #begin(how) {
    this.ready = this.catchingUp = true;
    this.acked = this.attempts = 0;
    this.status("open", how);
    const waiting = this.waiting;
    this.waiting = [];
    this.#pump();
    waiting.forEach((message) => this.send(message));
  }

  #pump() {
    const { mic, socket } = this;
    const room = () => socket.bufferedAmount < 2 * MIC_HZ * SOCKET_S;
    while (mic.waiting && room()) socket.send(mic.take(MIC_HZ / 10));
    if (mic.waiting < MIC_HZ * SOCKET_S) this.catchingUp = false;
    if (!this.catchingUp) mic.shorten(MIC_HZ * LAG_S);
  }

  #lost(code, reason, resuming = null) {
    this.#drop();
    if (this.over) return;
    if ((resuming && code === REFUSED) || code === GONE) this.#forget();
    if (CLOSINGS[code] && !(resuming && code === REFUSED)) {
      this.over = true;
      return this.status("closed", { code, reason });
    }
    const wait_s = resuming && code === REFUSED ? 0 : Math.max(code === BUSY ? 5 : 0, backoff(this.attempts++));
    this.status("lost", { code, reason, wait_s, attempts: this.attempts });
    this.timer = setTimeout(() => this.connect(), 1000 * wait_s);
  }

  /** The session is no more: the next one begins at zero. */
  #forget() {
    this.token = null;
    this.mic = new MicBuffer();
    this.waiting = [];
  }

  #drop() {
    const socket = this.socket;
    clearTimeout(this.doubt);
    this.doubt = 0;
    this.socket = null;
    this.ready = false;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}

// ------------------------------------------------------------------------------------------------------- the loop

/** Where this file came from says where the server is. */
function home() {
  const url = new URL("/ws", import.meta.url);
  url.protocol = url.protocol.replace("http", "ws");
  return url.href;
}

const KEY_UP_MS = 150; // the last sound of a word comes a little after the finger has left the key

/**
 * A conversation. Events, each with its facts in `detail` (or as the argument of `on`):
 *
 *   connection { status: connecting|open|lost|closed, ... }    lost: it comes back by itself; closed: it does not
 *   state { state: listening|hearing|thinking|speaking|paused }
 *   transcript { role, text, turn | reply }   a turn that comes again replaces what it was
 *   caption { reply, words, n }               n of the words have begun to be heard
 *   ended { reply, ending, heard }            what was really heard of a reply; may come again, more exact
 *   latency { turn, ms }   level { mic, voice } in dBFS   muted { on }   notice { stage, text }   error { code, message }
 *   trouble { kind, text }                    microphone or loudspeaker: see TROUBLES
 *   devices { microphones, speakers }         what can be chosen
 */
export class VoiceLoop extends (globalThis.EventTarget ?? Object) {
  #devices = new Devices({
    heard: (data) => this.#fromSound(data),
    ended: () => this.#microphoneEnded(),
    changed: () => this.#devicesChanged(),
  });
  #line = null;
  #coming = { reply: 0, at: 0 }; // what the next binary frame is
  #replies = new Map(); // samples played of each
  #captions = new Map();
  #reported = 0; // when
  #echo = { watch: new EchoWatch(), before: 0 };
  #clauses = new Map(); // reply -> texts; after a reconnect they may come again
  #muted = false;
  #keyed = false; // push-to-talk: silence unless the key is down
  #down = false;
  #volume = 1;
  #underruns = 0;
  #resumed = false;

  /** url: of the server's /ws. key: if it asks for one. name: what this page calls itself. */
  constructor({ url = home(), key = "", name = "a page", microphone = "", speaker = "" } = {}) {
    super();
    Object.assign(this, { url, key, name, microphone, speaker });
  }

  /** As addEventListener, but with the facts as the argument. Returns a function that ends it. */
  on(kind, then) {
    const listener = ({ detail }) => then(detail);
    this.addEventListener(kind, listener);
    return () => this.removeEventListener(kind, listener);
  }

  get started() {
    return this.#line !== null;
  }

  get muted() {
    return this.#muted;
  }

  /** The AudioNode that plays, for a picture of the sound; null while stopped. */
  get output() {
    return this.#devices.output;
  }

  /** Facts for a look inside: the jitter buffer's target in ms, underruns, samples of the microphone. */
  get health() {
    const { mic } = this.#line ?? {};
    return { target_ms: this.target_ms ?? 0, underruns: this.#underruns, heard: mic?.heard ?? 0, lost: mic?.lost ?? 0 };
  }

  /** Call it from a click. listen: false for typed text only. Throws a Trouble (after the event `trouble`). */
  async start({ listen = true } = {}) {
    if (this.started) return;
    const protocols = this.key ? ["voiceloop", `voiceloop-key.${this.key}`] : ["voiceloop"];
    const line = new Line({
      url: this.url,
      protocols,
      hello: () => ({ sample_rate: MIC_HZ, agent_sample_rate: this.#devices.rate, reports: true, name: this.name }),
      played: () => Object.fromEntries(this.#replies),
      message: (message) => this.#fromServer(message),
      sound: (data) => this.#play(data),
      status: (status, facts) => this.#connection(status, facts),
    });
    this.#line = line;
    try {
      await this.#devices.open(listen, this.microphone, this.speaker);
    } catch (error) {
      if (this.#line === line) this.stop();
      if (error instanceof Trouble) this.#tell("trouble", { kind: error.kind, text: error.message });
      throw error;
    }
    if (this.#line !== line) {
      // Stopped while the browser still asked.
      if (!this.#line) this.#devices.close();
      return;
    }
    this.volume = this.#volume;
    this.#line.connect();
    this.#devicesChanged();
  }

  /** Ends the conversation, and gives the microphone back. */
  stop() {
    this.#line?.close();
    this.#line = null;
    this.#devices.close();
    for (const kept of [this.#replies, this.#captions, this.#clauses]) kept.clear();
    this.#coming = { reply: 0, at: 0 };
  }

  /** The microphone gives silence, and the server is told. */
  mute(on = true) {
    this.#muted = on;
    this.#line?.send({ type: "mute", on });
    this.#tell("muted", { on });
  }

  /** Stops the reply, here at once and then at the server. */
  interrupt() {
    this.#post({ kind: "flush", drop: true });
    this.#line?.send({ type: "interrupt" });
  }

  /** Whether only what is said while a key is down is heard; then `pushToTalk(true)` and `pushToTalk(false)`. */
  set keyed(on) {
    this.#keyed = on;
    if (!on && this.#down) this.#key(false);
  }

  get keyed() {
    return this.#keyed;
  }

  /** The key went down, or up. */
  pushToTalk(down = true) {
    if (down) this.#key(true);
    else setTimeout(() => this.#key(false), KEY_UP_MS);
  }

  /** The turn ends here, without waiting for silence. */
  commit() {
    this.#line?.send({ type: "commit" });
  }

  /** A typed question. */
  text(text) {
    if (text.trim()) this.#line?.send({ type: "text", text: text.trim() });
  }

  /** How loud replies are, 0..1. Here, so that it is heard at once. */
  set volume(volume) {
    this.#volume = Math.min(1, Math.max(0, volume));
    const { output, context } = this.#devices;
    output?.gain.setTargetAtTime(this.#volume, context.currentTime, 0.01);
  }

  get volume() {
    return this.#volume;
  }

  /** Another microphone, by its deviceId; "" is the default one. */
  async chooseMicrophone(id) {
    this.microphone = id;
    if (!this.started) return;
    try {
      await this.#devices.choose_microphone(id);
    } catch (error) {
      this.#tell("trouble", { kind: error.kind ?? "missing", text: error.message });
    }
    await this.#devicesChanged();
  }

  /** Another loudspeaker, by its deviceId, where the browser can. */
  async chooseSpeaker(id) {
    this.speaker = id;
    if (this.started) await this.#devices.choose_speaker(id).catch((error) => this.#tell("notice", { stage: "audio", text: error.message }));
  }

  // --- from the devices

  #fromSound({ frames, voice, replies, drained, flushed, underruns, sounding, target_ms }) {
    if (!this.#line) return;
    this.#underruns = underruns;
    this.target_ms = target_ms;
    for (const [reply, n] of replies) this.#replies.set(reply, n);
    while (this.#replies.size > 8) this.#replies.delete(this.#replies.keys().next().value);
    if (flushed) return flushed.forEach(([reply, n]) => this.#report(reply, n));
    const [reply, n] = replies.at(-1) ?? [];
    if (drained.length) drained.forEach((reply) => this.#report(reply, this.#replies.get(reply)));
    else if (sounding && performance.now() - this.#reported >= REPORT_MS) this.#report(reply, n);
    if (reply !== undefined) this.#follow(reply, n);
    const open = !this.#muted && (!this.#keyed || this.#down);
    let mic = -90;
    for (const frame of frames) {
      if (open) mic = Math.max(mic, level(frame));
      else frame.fill(0);
      this.#line?.hear(frame);
    }
    this.#tell("level", { mic, voice });
    if (frames.length && open) this.#suspect(this.#echo.watch.feed(mic, voice));
  }

  #report(reply, samples) {
    if (samples === undefined) return;
    this.#replies.set(reply, samples);
    this.#reported = performance.now();
    this.#line?.send({ type: "played", reply, samples, underruns: this.#underruns }, { now: true });
  }

  #follow(reply, n) {
    const caption = this.#captions.get(reply);
    if (!caption) return;
    const { context, rate } = this.#devices;
    const late_s = context.outputLatency || context.baseLatency || 0; // handed to the device, and not yet heard
    const said = begun(caption.words, n - late_s * rate);
    if (said === caption.n) return;
    caption.n = said;
    this.#tell("caption", { reply, words: caption.words.map(([word]) => word), n: said });
  }

  #suspect(likeness) {
    if (likeness === null) return;
    // Twice in a row: levels of two people who talk may be alike by chance.
    if (Math.min(likeness, this.#echo.before) > 0.75) this.#line?.send({ type: "echo", likeness }, { now: true });
    this.#echo.before = likeness;
  }

  async #microphoneEnded() {
    this.#tell("trouble", { kind: "ended", text: TROUBLES.ended });
    await this.#reopen();
  }

  async #devicesChanged() {
    const all = await navigator.mediaDevices.enumerateDevices();
    const named = (kind) => all.filter((d) => d.kind === kind).map(({ deviceId: id, label }) => ({ id, label }));
    this.#tell("devices", {
      microphones: named("audioinput"),
      speakers: named("audiooutput"),
      microphone: this.#devices.microphone?.getSettings().deviceId ?? "",
    });
    if (this.#devices.microphone?.readyState === "ended") await this.#reopen();
  }

  async #reopen() {
    try {
      await this.#devices.choose_microphone(this.microphone);
      this.#tell("trouble", { kind: "", text: "" });
    } catch {
      return; // it was told; the next devicechange tries again
    }
  }

  #key(down) {
    if (down === this.#down) return;
    this.#down = down;
    this.#line?.send({ type: "push_to_talk", down });
  }

  // --- from the server

  #fromServer(message) {
    const { type, ...facts } = message;
    const { reply } = facts;
    if (type === "audio") this.#coming = { reply, at: facts.from };
    else if (type === "clear") this.#post({ kind: "flush" });
    else if (type === "audio_end") {
      this.#post({ kind: "end", reply });
      this.#tell("ended", facts);
    } else if (type === "transcript") this.#transcript(facts);
    else if (type === "caption") this.#caption(facts);
    else if (["state", "latency", "muted", "notice", "error"].includes(type)) this.#tell(type, facts);
  }

  #play(data) {
    const pcm = new Int16Array(data);
    const out = new Float32Array(pcm.length);
    for (let i = 0; i < pcm.length; i++) out[i] = pcm[i] / 32768;
    const { reply, at } = this.#coming;
    this.#coming.at += pcm.length;
    this.#post({ kind: "push", reply, at, pcm: out }, [out.buffer]);
  }

  #transcript(facts) {
    const { role, reply, text } = facts;
    if (role === "assistant" && reply !== undefined) {
      const clauses = this.#clauses.get(reply) ?? [];
      if (this.#resumed && clauses.includes(text)) return;
      this.#clauses.set(reply, [...clauses, text]);
      while (this.#clauses.size > KEPT_REPLIES) this.#clauses.delete(this.#clauses.keys().next().value);
    }
    this.#tell("transcript", facts);
  }

  #caption({ reply, words }) {
    const n = this.#captions.get(reply)?.n ?? 0;
    this.#captions.set(reply, { words, n });
    while (this.#captions.size > KEPT_REPLIES) this.#captions.delete(this.#captions.keys().next().value);
    this.#tell("caption", { reply, words: words.map(([word]) => word), n });
  }

  #connection(status, facts) {
    if (status === "open") {
      this.#resumed = facts.again;
      if (!facts.again) {
        // A session of its own numbers its replies from the start.
        this.#post({ kind: "reset" });
        for (const kept of [this.#replies, this.#captions, this.#clauses]) kept.clear();
      }
      if (this.#muted) this.#line.send({ type: "mute", on: true });
    }
    this.#tell("connection", { status, text: facts.reason || CLOSINGS[facts.code] || "", ...facts });
    if (status === "closed") this.stop();
  }

  #post(message, transfer = []) {
    this.#devices.node?.port.postMessage(message, transfer);
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

/** Of int16 samples, in dBFS. */
function level(frame) {
  let power = 0;
  for (const x of frame) power += x * x;
  return dB(power / frame.length / 32768 ** 2);
}
