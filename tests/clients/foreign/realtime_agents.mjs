// @openai/agents-realtime in node: a spoken turn, a function call, a barge-in (the SDK truncates by itself).
import fs from "node:fs";
import { RealtimeAgent, RealtimeSession, OpenAIRealtimeWebSocket, tool } from "@openai/agents-realtime";
import { z } from "zod";
const pcm = (p) => fs.readFileSync(p).subarray(44);
const seen = { transcripts: [], types: {}, errors: [] };
const weather = tool({ name: "weather", description: "The weather", parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => { seen.call = city; return "sunny"; } });
const agent = new RealtimeAgent({ name: "a", instructions: "Be brief.", tools: process.env.MODE === "tool" ? [weather] : [] });
const transport = new OpenAIRealtimeWebSocket({ url: process.env.REALTIME_URL + "?model=gpt-realtime" });
const session = new RealtimeSession(agent, { transport, model: "gpt-realtime", config: { audio: { input: { transcription: { model: "whisper-1" }, turnDetection: { type: "server_vad" } } } } });
session.on("error", (e) => seen.errors.push(JSON.stringify(e).slice(0, 300)));
session.on("audio_interrupted", () => { seen.interrupted = (seen.interrupted ?? 0) + 1; });
let audio = 0;
session.on("audio", (e) => { audio += e.data.byteLength; });
let done = 0;
transport.on("*", (e) => { seen.types[e.type] = (seen.types[e.type] ?? 0) + 1;
  if (e.type === "response.done") { (seen.done ??= []).push(e.response.status); done++; } });
await session.connect({ apiKey: process.env.OPENAI_API_KEY });
const speak = async (data) => { for (let at = 0; at < data.length; at += 4800) { const piece = data.subarray(at, at + 4800); session.sendAudio(piece.buffer.slice(piece.byteOffset, piece.byteOffset + piece.byteLength)); await new Promise((r) => setTimeout(r, 100)); } };
const until = async (f, ms = 30000) => { const t = Date.now(); while (!f()) { if (Date.now() - t > ms) throw new Error("late " + JSON.stringify(seen)); await new Promise((r) => setTimeout(r, 20)); } };
const silence = Buffer.alloc(96000);
if (process.env.MODE === "tool") {
  session.sendMessage("How is the weather?");
  await until(() => done >= 2);
} else {
  await speak(Buffer.concat([pcm(process.env.GO_FORWARD), silence]));
  await until(() => audio > 0);
  await new Promise((r) => setTimeout(r, 3000));
  await speak(Buffer.concat([pcm(process.env.TEN_OF_CLUBS), silence]));
  await until(() => done >= 2);
}
await new Promise((r) => setTimeout(r, 500));
seen.history = session.history.map((i) => [i.type, i.role, i.status, i.content?.map((c) => c.transcript ?? c.text).join("") ?? i.output]);
for (const t of Object.keys(seen.types)) if (/delta|conversation.item.(added|done)/.test(t)) delete seen.types[t];
console.log(JSON.stringify(seen, null, 0));
process.exit(0);
