// @openai/agents-realtime in a browser, as a page uses it: an ephemeral key, WebSocket, the microphone, the loudspeaker.
import { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebSocket, tool } from "@openai/agents-realtime";
import { z } from "zod";

const RATE = 24_000;
const seen = (window.seen = { types: {}, errors: [], done: [], cut: 0, audio: 0 });

// The microphone as 24 kHz pcm16, in pieces of 100 ms.
async function microphone(context, heard) {
  const worklet = `registerProcessor("ear", class extends AudioWorkletProcessor {
    process([[sound]]) { if (sound) this.port.postMessage(sound.slice()); return true; } });`;
  await context.audioWorklet.addModule(URL.createObjectURL(new Blob([worklet], { type: "text/javascript" })));
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const ear = new AudioWorkletNode(context, "ear");
  let piece = [];
  ear.port.onmessage = ({ data }) => {
    piece.push(...data);
    if (piece.length < RATE / 10) return;
    heard(Int16Array.from(piece, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32767)))).buffer);
    piece = [];
  };
  context.createMediaStreamSource(stream).connect(ear);
}

// The loudspeaker: pieces one behind the other, all dropped when the user interrupts.
function loudspeaker(context) {
  let end = 0, playing = [];
  const out = context.createGain();
  out.connect(context.destination);
  return {
    play(buffer) {
      const pcm = new Int16Array(buffer);
      const sound = context.createBuffer(1, pcm.length, RATE);
      sound.getChannelData(0).set(Float32Array.from(pcm, (x) => x / 32768));
      const source = context.createBufferSource();
      source.buffer = sound;
      source.connect(out);
      end = Math.max(end, context.currentTime);
      source.start(end);
      end += sound.duration;
      playing.push(source);
    },
    stop() { for (const source of playing) source.stop(); playing = []; end = 0; },
  };
}

window.talk = async ({ url, key, tools }) => {
  const weather = tool({ name: "weather", description: "The weather", parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => { seen.call = city; return "sunny"; } });
  const agent = new RealtimeAgent({ name: "a", instructions: "Be brief.", tools: tools ? [weather] : [] });
  const transport = new OpenAIRealtimeWebSocket({ url });
  const audio = { input: { transcription: { model: "whisper-1" }, turnDetection: { type: "server_vad" } } };
  const session = new RealtimeSession(agent, { transport, model: "gpt-realtime", config: { audio } });
  const context = new AudioContext({ sampleRate: RATE });
  const speaker = loudspeaker(context);
  session.on("error", (error) => seen.errors.push(JSON.stringify(error).slice(0, 300)));
  session.on("audio_interrupted", () => { seen.cut++; speaker.stop(); });
  session.on("audio", ({ data }) => { seen.audio += data.byteLength; speaker.play(data); });
  transport.on("*", (event) => {
    seen.types[event.type] = (seen.types[event.type] ?? 0) + 1;
    if (event.type === "response.done") seen.done.push(event.response.status);
  });
  await session.connect({ apiKey: key });
  if (tools) session.sendMessage("How is the weather?");
  else await microphone(context, (pcm) => session.sendAudio(pcm));
  window.history_of = () => session.history.map((item) =>
    [item.type, item.role, item.status, item.content?.map((c) => c.transcript ?? c.text).join("") ?? item.output]);
};
