// Parts for sequences: the steps of an unrolled layer, the legend of weights, an empty picture.
const PICTURES = {};

const timeScale = vectors => vectors.scale <= 1 ? 1 : vectors.scale;

// Consecutive steps of an unrolled layer, of which `seen` are done; returns the x of each shown step.
function unrolledSteps(scene, y, {vectors, inputs, outputs, step, seen, left, right, height = 96, frameOf, active = true}) {
  const {palette} = scene, scale = timeScale(vectors);
  const pitch = pitchOf(outputs ? [...inputs, ...outputs] : inputs, 40, 88);
  const room = Math.max(1, Math.floor((right - left - 34) / pitch));
  const [first, stop] = stretch(vectors.steps, room, Math.max(0, step));
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
      {active: now, tip: `state after ${quoted(inputs[s])}: size ${number(size(values))}`});
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

// What the colours of weights mean; in maps a colour's place is the square root of the weight.
function weightLegend(scene, y, highest, x = 26, place = Math.sqrt) {
  const {palette} = scene, steps = 61, width = 96, style = {size: 11, fill: palette.muted};
  scene.cells(x, y, width, 8, heat(1, steps, Array.from({length: steps}, (_, i) => i / (steps - 1)), palette.weight));
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
