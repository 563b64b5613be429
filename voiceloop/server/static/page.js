// The page of voiceloop: what the loop tells becomes one view, and each press becomes one call.

import { TROUBLES, VoiceLoop } from "./voiceloop.js";

const $ = (id) => document.getElementById(id);
const kiosk = new URLSearchParams(location.search).has("kiosk");
const loop = new VoiceLoop({ name: "the page", key: sessionStorage.getItem("key") ?? "" });

// What it is doing, and what pressing the big button does then.
const VIEWS = {
  off: ["Press and talk", "Start the conversation"],
  connecting: ["One moment", "Connecting"],
  listening: ["Listening", "Press to mute"],
  hearing: ["I hear you", "Press to mute"],
  thinking: ["Thinking", "Press to stop"],
  speaking: ["Speaking", "Press to interrupt, or just speak"],
  paused: ["Paused", "Press to stop"],
  muted: ["Muted", "Press to unmute"],
  keyed: ["Hold to talk", "Hold the button, or the space bar"],
  lost: ["Reconnecting", "Go on speaking: nothing is lost"],
  trouble: ["No microphone", "Try again"],
  closed: ["Ended", "Start again"],
};
const TITLES = {
  insecure: "This page is not secure",
  unsupported: "This browser is too old",
  denied: "The microphone is not allowed",
  missing: "No microphone",
  busy: "The microphone is in use",
  ended: "The microphone is gone",
  blocked: "Press once more",
};
const STEPS = [
  ["End of turn", 0, "decided"],
  ["Words", 0, "words"],
  ["Answer", "words", "text"],
  ["Voice", "text", "ready"],
  ["To the ear", "released", "heard"],
];

const UNREACHABLE = "The server cannot be reached, or does not let this page in. It is tried again and again.";

const facts = { status: "off", state: "listening", trouble: "", text: "", code: 0, typing: false };
let view = "";
let down = false;

// --- one view of all that is known

function chosen() {
  if (facts.trouble) return "trouble";
  if (facts.status !== "open") return facts.status;
  if (["thinking", "speaking", "paused"].includes(facts.state)) return facts.state;
  if (loop.muted) return "muted";
  if (loop.keyed && !down) return "keyed";
  return facts.state;
}

function render() {
  const next = chosen();
  const [word, hint] = VIEWS[next];
  const said = next === "trouble" ? TITLES[facts.trouble] : next === "closed" && facts.code !== 1000 ? "Not connected" : word;
  document.body.dataset.view = next;
  $("word").textContent = said;
  $("hint").textContent = loop.keyed && ["listening", "hearing"].includes(next) ? "Let go when you have finished" : hint;
  if (next === "lost" && facts.busy) {
    $("word").textContent = "The server is busy";
    $("hint").textContent = `${facts.busy} It is tried again by itself.`;
  }
  if (next === "connecting" && facts.asking) $("hint").textContent = "If the browser asks, allow the microphone";
  $("hint").hidden = ["trouble", "closed"].includes(next);
  document.title = next === "off" ? "voiceloop" : `${said} · voiceloop`;
  const on = loop.started && facts.status !== "off";
  $("mute").disabled = !on || facts.typing;
  $("end").disabled = !on;
  $("mute").setAttribute("aria-pressed", String(loop.muted));
  $("mute").setAttribute("aria-label", loop.muted ? "Unmute the microphone" : "Mute the microphone");
  help(next);
  if (next !== view && ["connecting", "lost", "muted", "closed"].includes(next)) announce(said);
  if (view === "lost" && facts.status === "open") announce("Connected again");
  view = next;
}

function help(now) {
  const needed = ["trouble", "closed"].includes(now) && facts.text !== "";
  $("captions").hidden = needed;
  if ($("help").hidden === !needed && $("help-text").textContent === facts.text) return;
  $("help").hidden = !needed;
  if (!needed) return;
  $("help-text").textContent = facts.text;
  $("help-more").textContent = facts.more ?? "";
  $("key-form").hidden = facts.code !== 1008;
  $("help-type").hidden = !["denied", "missing", "busy"].includes(facts.trouble);
  $("help-again").textContent = now === "closed" ? "Start again" : "Try again";
}

function announce(text) {
  $("live").textContent = text;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text;
  clearTimeout(notice.timer);
  if (text) notice.timer = setTimeout(() => notice(""), 12000);
}

// --- what was said

const KEPT = 200;
const entries = new Map(); // key -> { line, role, text, words, n, heard }
let session = 0; // turns and replies are numbered anew in each
let latest = { user: null, assistant: null };

function entry(role, number) {
  const key = `${session} ${role} ${number}`;
  let found = entries.get(key);
  if (!found) {
    found = { role, text: "", words: [], n: 0, heard: null, line: document.createElement("li") };
    found.line.className = role;
    entries.set(key, found);
    $("log").append(found.line);
    if (role === "user") step({ user: found, assistant: null });
    else step({ ...latest, assistant: found });
    document.body.dataset.talk = "";
    forget();
  }
  return found;
}

/** A wall screen runs for months. */
function forget() {
  while (entries.size > KEPT) {
    const [key, { line }] = entries.entries().next().value;
    line.remove();
    entries.delete(key);
  }
}

/** The newest question and answer stand on the stage; in the list they are there for who listens to the page. */
function step(next) {
  latest = next;
  for (const { line } of entries.values()) line.classList.remove("now");
  for (const found of [next.user, next.assistant]) found?.line.classList.add("now");
  if ($("log").querySelector("li:not(.now)")) document.body.dataset.past = "";
  $("log").scrollTop = $("log").scrollHeight;
}

function span(kind, text) {
  const part = document.createElement("span");
  if (kind) part.className = kind;
  part.textContent = text;
  return part;
}

function write(found) {
  const { role, text, words, n, heard, line } = found;
  const who = span("unseen", role === "user" ? "You: " : "Answer: ");
  if (role === "user" || heard === null) line.replaceChildren(who, text);
  else if (heard.length >= text.length) line.replaceChildren(who, text);
  else line.replaceChildren(who, `${heard} `, span("unheard", text.slice(heard.length).trim()));
  if (found === latest.user) $("asked").textContent = text;
  if (found === latest.assistant) {
    const box = document.createElement("span");
    if (heard !== null && heard.length < text.length) box.append(`${heard} `, span("to-come", text.slice(heard.length).trim()));
    else if (heard !== null || !words.length) box.append(text);
    else {
      const speaking = Math.max(0, n - 1);
      if (speaking) box.append(`${words.slice(0, speaking).join(" ")} `);
      if (n) box.append(span("now", words[speaking]), " ");
      box.append(span("to-come", words.slice(n).join(" ")));
    }
    $("answer").replaceChildren(box);
    // A long answer moves with the voice; one that has ended shows where it did.
    const at = box.querySelector(".now, .to-come");
    $("answer").scrollTop = at ? at.offsetTop - $("answer").clientHeight / 2 : heard === null ? 0 : $("answer").scrollHeight;
  } else if (!latest.assistant) $("answer").replaceChildren();
}

function mark(text) {
  const line = document.createElement("li");
  line.className = "mark";
  line.textContent = text;
  $("log").append(line);
}

loop.on("transcript", ({ role, text, turn, reply }) => {
  const found = entry(role, role === "user" ? turn : reply);
  if (role === "user" && found.text === text) return; // said again after a reconnect
  found.text = role === "user" || !found.text ? text : `${found.text} ${text}`;
  write(found);
  if (role === "user") announce(`You said: ${text}`);
});

loop.on("caption", ({ reply, words, n }) => {
  const found = entry("assistant", reply);
  Object.assign(found, { words, n });
  write(found);
});

loop.on("ended", ({ reply, ending, heard }) => {
  const found = entries.get(`${session} assistant ${reply}`);
  if (!found) return;
  if (ending === "withdrawn" && !heard) {
    found.line.remove();
    found.text = "";
    found.words = [];
  }
  // Between the words of both there may be other spaces: count words, and cut the text there.
  const n = heard.split(/\s+/).filter(Boolean).length;
  found.heard = ending === "completed" ? found.text : cut(found.text, n);
  write(found);
  if (loop.volume === 0 || facts.typing) announce(found.text); // else it was heard
});

function cut(text, n) {
  const words = [...text.matchAll(/\S+/g)];
  return n ? text.slice(0, words[Math.min(n, words.length) - 1].index + words[Math.min(n, words.length) - 1][0].length) : "";
}

loop.on("latency", ({ ms }) => {
  const whole = Math.max(1, ms.heard);
  const steps = STEPS.map(([name, from, to]) => [name, from ? ms[from] : 0, ms[to]]);
  $("latency").hidden = false;
  $("latency-sum").textContent = `Answered after ${(ms.heard / 1000).toFixed(2)} s`;
  $("latency-steps").replaceChildren(
    ...steps.map(([name, from, to]) => {
      const row = document.createElement("li");
      const track = span("track", "");
      const bar = span("span", "");
      bar.style.setProperty("--from", Math.max(0, from) / whole);
      bar.style.setProperty("--size", Math.max(0, to - Math.max(0, from)) / whole);
      track.append(bar);
      row.append(span("", name), track, span("ms", `${Math.max(0, Math.round(to - from))} ms`));
      return row;
    }),
  );
});

// --- what it is doing

loop.on("connection", ({ status, text, code, again, attempts }) => {
  facts.status = status === "connecting" && again ? "lost" : status;
  facts.asking = false;
  if (status === "open" && !again) {
    if (session && $("log").lastChild?.matches(":not(.mark)")) mark("A new conversation");
    session++;
  }
  if (status === "lost") {
    facts.busy = code === 1013 ? text || "It has no free place." : "";
    notice(facts.busy ? "" : text || (attempts > 3 ? UNREACHABLE : ""));
  }
  if (status === "open") notice((facts.busy = ""));
  if (status === "closed") {
    Object.assign(facts, { code, text, more: code === 1008 ? "If it needs a key, type it here." : "" });
    if (code === 1000) facts.text = "";
    if (kiosk && code !== 1008) setTimeout(start, 5000);
  }
  render();
});
loop.on("state", ({ state }) => {
  facts.state = state;
  render();
});
loop.on("muted", render);
loop.on("notice", ({ text }) => {
  notice(text);
  announce(text);
});
loop.on("error", ({ message }) => notice(message));
loop.on("trouble", ({ kind, text }) => {
  if (kind === "ended") return notice(text);
  if (!kind) return notice("");
  Object.assign(facts, { trouble: kind, text, code: 0, more: kind === "insecure" ? `This address is ${location.origin}.` : "" });
  render();
});
loop.on("level", ({ mic, voice }) => {
  const shown = facts.state === "speaking" ? voice : mic;
  const level = Math.min(1, Math.max(0, (shown + 60) / 50));
  $("orb").style.setProperty("--level", level.toFixed(3));
});
loop.on("devices", ({ microphones, speakers, microphone }) => {
  fill($("microphone"), microphones, loop.microphone || microphone, "");
  fill($("speaker"), speakers, loop.speaker, "default");
  $("speaker").disabled = speakers.length === 0;
});

function fill(select, devices, now, standard) {
  const named = devices.filter(({ id, label }) => label && !["", "default"].includes(id));
  select.replaceChildren(new Option("The browser's own choice", standard), ...named.map(({ id, label }) => new Option(label, id)));
  select.value = named.some(({ id }) => id === now) ? now : standard;
}

// --- what is pressed

async function start({ listen = true } = {}) {
  if (loop.started) return;
  Object.assign(facts, { trouble: "", text: "", more: "", code: 0, status: "connecting", state: "listening", typing: !listen, asking: listen });
  if (!$("key-form").hidden && $("key").value) {
    loop.key = $("key").value;
    sessionStorage.setItem("key", loop.key);
  }
  render();
  try {
    await loop.start({ listen });
    await navigator.wakeLock?.request("screen").catch(() => {});
  } catch (error) {
    facts.status = "off";
    if (!(error.kind in TROUBLES)) Object.assign(facts, { trouble: "unsupported", text: `The sound cannot be opened: ${error.message}` });
    render();
  }
}

function end() {
  loop.stop();
  Object.assign(facts, { status: "off", trouble: "", text: "" });
  render();
}

function press() {
  if (!loop.started) return void start();
  if (["thinking", "speaking", "paused"].includes(view)) loop.interrupt();
  else if (["listening", "hearing", "muted"].includes(view) && !loop.keyed) loop.mute(!loop.muted);
  else if (view === "muted") loop.mute(false);
}

function key(isDown) {
  if (isDown === down || !loop.started) return;
  down = isDown;
  loop.pushToTalk(isDown);
  render();
}

const held = () => loop.keyed && loop.started && !loop.muted;
$("orb").addEventListener("click", () => !held() && press());
$("orb").addEventListener("pointerdown", (event) => {
  if (!held()) return;
  $("orb").setPointerCapture(event.pointerId);
  key(true);
});
for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) $("orb").addEventListener(kind, () => key(false));
$("orb").addEventListener("contextmenu", (event) => event.preventDefault());

const typingIn = (target) => target.closest?.("input, select, textarea, dialog, button:not(#orb), summary") !== null;
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && loop.started && !$("settings").open) loop.interrupt();
  if (event.key !== " " || !held() || typingIn(event.target)) return;
  event.preventDefault();
  if (!event.repeat) key(true);
});
addEventListener("keyup", (event) => {
  if (event.key !== " " || !down) return;
  event.preventDefault();
  key(false);
});
addEventListener("blur", () => key(false));

$("typing").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (!text.trim()) return;
  $("text").value = "";
  if (!loop.started) await start({ listen: false });
  loop.text(text);
});
$("mute").addEventListener("click", () => loop.mute(!loop.muted));
$("end").addEventListener("click", end);
$("help-again").addEventListener("click", () => start());
$("help-type").addEventListener("click", () => {
  Object.assign(facts, { trouble: "", text: "" });
  render();
  $("text").focus();
});
$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
$("open-settings").addEventListener("click", () => $("settings").showModal());
$("microphone").addEventListener("change", ({ target }) => loop.chooseMicrophone(target.value));
$("speaker").addEventListener("change", ({ target }) => loop.chooseSpeaker(target.value));
$("volume").addEventListener("input", ({ target }) => {
  loop.volume = target.value / 100;
});
$("keyed").addEventListener("change", ({ target }) => {
  loop.keyed = target.checked;
  render();
});
addEventListener("pagehide", () => loop.started && end());

if (kiosk) {
  document.body.dataset.kiosk = "";
  navigator.permissions?.query({ name: "microphone" }).then(({ state }) => state === "granted" && start(), () => {});
}
render();
