// A recurrent layer rolled out in time: at each step it reads a token and its state before.
const PICTURES = {};

const readTokens = (example, time, count) => tokensOf(example, time, count);
const timeScale = vectors => vectors.scale <= 1 ? 1 : vectors.scale;

// A stretch of a rolled-out layer; `seen` steps are done. Answers the x of each step shown.
function rolledOut(scene, y, {vectors, reads, says, step, seen, left, right, height = 96, frameOf, active = true}) {
  const {palette} = scene, scale = timeScale(vectors);
  const pitch = pitchOf(says ? [...reads, ...says] : reads, 40, 88);
  const room = Math.max(1, Math.floor((right - left - 34) / pitch));
  const [first, stop] = stretch(vectors.steps, room, Math.max(0, step));
  const start = left + (right - left - pitch * (stop - first)) / 2 + pitch / 2 + 6;
  const cell = y + (says ? 30 : 0), box0 = cell + height + 20, low = box0 + 34;
  const places = {};
  for (let s = first; s < stop; s++) {
    const x = start + (s - first) * pitch, past = s < seen, now = active && s === step;
    places[s] = x;
    const from = x - pitch + 15, ink = {stroke: past ? palette.muted : palette.line};
    if (s > first || s > 0) scene.arrow(s > first ? from : x - pitch / 2 - 8, box0 + 17, x - 16, box0 + 17, ink);
    scene.arrow(x, low + 20, x, low + 3, ink);
    scene.arrow(x, box0 - 1, x, cell + height + 4, ink);
    box(scene, x - 15, box0, 30, 34, "A", {active: now, quiet: !past});
    const values = vectors.step(s);
    if (past) strip(scene, x - 8, cell, 16, height, values, scale, {active: now, tip: `state after ${quoted(reads[s])}: size ${number(size(values))}`});
    else ghost(scene, x - 8, cell, 16, height);
    chip(scene, x, low + 32, reads[s], pitch - 6, {active: now && !says, quiet: !past});
    if (says) {
      scene.arrow(x, cell - 3, x, cell - 17, ink);
      chip(scene, x, y + 2, past ? says[s] : "·", pitch - 6, {active: now, quiet: !past});
    }
    scene.spot(x - pitch / 2, box0, pitch, 78, {frame: frameOf(s), tip: `step ${s + 1}: ${reads[s]}`});
  }
  if (stop < vectors.steps) scene.path(`M${places[stop - 1] + 15} ${box0 + 17}h${pitch / 2 - 8}`, {stroke: palette.line});
  beyond(scene, first, stop, vectors.steps, left, right, low + 32);
  return {bottom: low + 48, top: y, places, box: box0, cell, first, stop};
}

PICTURES.unrolled_rnn = {
  title: "Rolled out",
  choices: (example, picture) => picture.choices,
  chooses: "Layer",
  frames: view => named(view.example.states, view.choice).steps,
  opens: "last",
  draw(scene, view, frame) {
    const {example} = view, packed = named(example.states, view.choice), vectors = vectorsOf(packed);
    const reads = readTokens(example, packed.time, vectors.steps);
    const says = packed.time === "target" && example.decoder_output ? tokensOf(example, "decoder_output", vectors.steps) : null;
    if (!vectors.steps) return empty(scene);
    // What reads a text backwards is played from its end.
    const backwards = view.choice.endsWith(".backward_layer");
    const step = backwards ? vectors.steps - 1 - frame : frame;
    heading(scene, 12, 14, backwards ? "The same cell A at every step, from the end to the beginning" : "The same cell A at every step; its state goes on to the next", {room: scene.width - 24});
    const drawn = backwards
      ? rolledBack(scene, 40, vectors, reads, step)
      : rolledOut(scene, 40, {vectors, reads, says, step, seen: step + 1, left: 8, right: scene.width - 8, frameOf: s => s});
    const y = timeline(scene, drawn.bottom + 12, vectors, backwards ? vectors.steps - 1 : step, reads, {name: `Every state, ${unitsNote(vectors)}`, scale: timeScale(vectors), frameOf: s => backwards ? vectors.steps - 1 - s : s});
    scene.height = y;
    const now = vectors.step(step), before = frame > 0 ? vectors.step(backwards ? step + 1 : step - 1) : now.map(() => 0);
    const change = size(now.map((v, i) => v - before[i]));
    return `Step ${frame + 1} of ${vectors.steps}: reads ${quoted(reads[step])}${says ? `, answers ${quoted(says[step])}` : ""}. The state has size ${number(size(now))} and moved by ${number(change)}.`;
  },
};

// The same with time running from right to left.
function rolledBack(scene, y, vectors, reads, step) {
  const turned = {steps: vectors.steps, scale: vectors.scale, step: s => vectors.step(vectors.steps - 1 - s)};
  const at = vectors.steps - 1 - step, mirror = new Scene(scene.width, scene.palette);
  const drawn = rolledOut(mirror, y, {vectors: turned, reads: [...reads].reverse(), says: null, step: at, seen: at + 1, left: 8, right: scene.width - 8, frameOf: s => s});
  scene.shapes.push(...mirror.shapes);
  scene.spots.push(...mirror.spots);
  return drawn;
}

function empty(scene) {
  scene.height = 60;
  scene.text(scene.width / 2, 30, "nothing was heard here", {fill: scene.palette.muted});
  return "Nothing was heard here.";
}
