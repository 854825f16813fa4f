// Parts for sequences: the steps of an unrolled layer, the legend of weights, an empty picture.
const PICTURES = {};

const timeScale = vectors => vectors.scale <= 1 ? 1 : vectors.scale;

// Consecutive steps of an unrolled layer, of which `seen` are done; returns the x of each shown step.
function unrolledSteps(scene, y,
  {vectors, inputs, outputs, step, seen, left, right, height = 96, frameOf, active = true,
  focus = step}) {
  const {palette} = scene, scale = timeScale(vectors);
  const pitch = pitchOf(outputs ? [...inputs, ...outputs] : inputs, 40, 88);
  const room = Math.max(1, Math.floor((right - left - 34) / pitch));
  const [first, stop] = stretch(vectors.steps, room, Math.max(0, focus));
  const start = left + (right - left - pitch * (stop - first)) / 2 + pitch / 2 + 6;
  const cell = y + (outputs ? 30 : 0), box0 = cell + height + 20, low = box0 + 34;
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
    if (past) strip(scene, x - 8, cell, 16, height, values, scale,
      {active: now, tip: `state after ${quoted(inputs[s])}: size ${sizeText(values, vectors)}`});
    else ghost(scene, x - 8, cell, 16, height);
    chip(scene, x, low + 32, inputs[s], pitch - 6, {active: now && !outputs, quiet: !past});
    if (outputs) {
      scene.arrow(x, cell - 3, x, cell - 17, ink);
      chip(scene, x, y + 2, past ? outputs[s] : "·", pitch - 6, {active: now, quiet: !past});
    }
    scene.spot(x - pitch / 2, box0, pitch, 78, {frame: frameOf(s), tip: `step ${s + 1}: ${inputs[s]}`});
  }
  if (stop < vectors.steps) scene.path(`M${places[stop - 1] + 15} ${box0 + 17}h${pitch / 2 - 8}`,
    {stroke: palette.line});
  beyond(scene, first, stop, vectors.steps, left, right, low + 32);
  return {bottom: low + 48, top: y, places, box: box0, cell, first, stop};
}

// A layer of two directions: place by place the states of both, side by side, and a cell of each. At a frame the
// forward cells have read as many tokens from the beginning as the backward cells from the end.
function bothDirections(scene, y,
  {vectors, inputs, step, left, right, height = 76, frameOf, active = true, focus = step}) {
  const {palette} = scene, {steps} = vectors, pitch = pitchOf(inputs, 46, 88);
  const [first, stop] = stretch(steps, Math.max(1, Math.floor((right - left - 24) / pitch)), Math.max(0, focus));
  const start = left + (right - left - pitch * (stop - first)) / 2 + pitch / 2;
  const upper = y + height + 18, lower = upper + 34, low = lower + 34, places = {};
  const directions = [
    {side: -7, top: lower, sign: "→", read: s => s <= step, now: s => s === step, from: -1},
    {side: 7, top: upper, sign: "←", read: s => s >= steps - 1 - step, now: s => s === steps - 1 - step, from: 1},
  ];
  for (let s = first; s < stop; s++) {
    const x = start + (s - first) * pitch, halves = halvesOf(vectors, s);
    places[s] = x;
    for (const [i, {side, top, sign: name, read, now, from}] of directions.entries()) {
      const past = read(s), ink = {stroke: past ? palette.muted : palette.line}, wire = x + side;
      const end = from < 0 ? s > 0 : s < steps - 1, edge = wire + from * 8;
      if (end) scene.arrow(edge + from * (pitch - (s + from < first || s + from >= stop ? pitch / 2 : 17)), top + 11,
        edge + from, top + 11, ink);
      scene.arrow(wire, low - 3, wire, top + 25, ink);
      scene.arrow(wire, top - 2, wire, y + height + 4, ink);
      box(scene, wire - 7, top, 14, 22, name, {active: active && now(s), quiet: !past, size: 11});
      if (past) strip(scene, x + (i ? 1.5 : -12.5), y, 11, height, halves[i], timeScale(vectors),
        {active: active && now(s),
        tip: `${i ? "backwards" : "forwards"}, ${quoted(inputs[s])}: size ${sizeText(halves[i], vectors)}`});
      else ghost(scene, x + (i ? 1.5 : -12.5), y, 11, height);
    }
    chip(scene, x, low + 9, inputs[s], pitch - 6, {active: active && (s === step || s === steps - 1 - step),
      quiet: !directions.some(({read}) => read(s))});
    scene.spot(x - pitch / 2, upper, pitch, low + 22 - upper, {frame: frameOf(s), tip: `step ${s + 1}: ${inputs[s]}`});
  }
  beyond(scene, first, stop, steps, left, right, low + 28);
  return {bottom: low + (stop - first < steps ? 38 : 24), top: y, places, box: lower - 6, back: upper + 11, cell: y, first, stop};
}

// The units of the forward and of the backward layer in the state of both.
function halvesOf(vectors, step) {
  const values = vectors.step(step), cut = vectors.units.filter(unit => unit < vectors.width / 2).length;
  return [values.slice(0, cut), values.slice(cut)];
}

// An encoder, of one direction or of both, that has read so many tokens.
function encoderSteps(scene, y, {directions, ...about}) {
  return directions ? bothDirections(scene, y, about)
    : unrolledSteps(scene, y, {...about, outputs: null, seen: about.step + 1});
}

// What the encoder reads at a step.
function reads(tokens, step, directions) {
  const back = tokens[tokens.length - 1 - step];
  return directions ? `one direction reads ${quoted(tokens[step])}, the other, from the end, ${quoted(back)}`
    : `the encoder reads ${quoted(tokens[step])}`;
}

// What the colours of weights mean; in maps a colour's place is the square root of the weight.
function weightLegend(scene, y, highest, x = 26, place = Math.sqrt, color = scene.palette.weight) {
  const {palette} = scene, steps = 61, width = 96, style = {size: 11, fill: palette.muted};
  scene.cells(x, y, width, 8, heat(1, steps, Array.from({length: steps}, (_, i) => i / (steps - 1)), color));
  scene.text(x - 6, y + 4, "0", {...style, align: "right"});
  scene.text(x + 6 + width, y + 4, share(highest), {...style, align: "left"});
  scene.text(x + width * place(0.25), y + 17, share(highest / 4), style);
  return y + 28;
}

function empty(scene) {
  scene.height = 60;
  scene.text(scene.width / 2, 30, "nothing was recorded here", {fill: scene.palette.muted});
  return "Nothing was recorded here.";
}
