// The inside of an LSTM or a GRU at one step, with the recorded gate values.
const GATE_NAMES = {input: "input i", forget: "forget f", output: "output o", candidate: "candidate c̃",
  reset: "reset r", update: "update z"};

PICTURES.gates = {
  title: "Cell state and gates",
  choices: (example, picture) => picture.choices,
  chooses: "Layer",
  frames: view => Object.values(named(view.example.gates, view.choice).gates)[0].steps,
  opens: "last",
  draw(scene, view, frame) {
    const {example} = view, packed = named(example.gates, view.choice);
    const gates = Object.fromEntries(Object.entries(packed.gates).map(([name, gate]) => [name, vectorsOf(gate)]));
    const {steps} = gates.candidate;
    if (!steps) return empty(scene);
    const backwards = view.choice.endsWith(".backward_layer"), step = backwards ? steps - 1 - frame : frame;
    const before = backwards ? step + 1 : step - 1;
    const tokens = tokensOf(example, packed.time, steps), states = named(example.states, view.choice);
    const hidden = states ? vectorsOf(states) : null;
    const now = Object.fromEntries(Object.entries(gates).map(([name, gate]) => [name, gate.step(step)]));
    const past = vectors => !vectors ? null : before >= 0 && before < steps ? vectors.step(before)
      : startsAtZero(example, packed) ? vectors.step(step).map(() => 0) : null;
    const lstm = "cell" in gates;
    const title = lstm ? "LSTM: the cell state goes straight through" : "GRU: the state goes straight through";
    const what = lstm ? "what is kept, added and shown" : "what is kept and what is new";
    heading(scene, 12, 14, [`${title}; gates decide ${what}`, title], {room: scene.width - 24});
    let y = lstm
      ? cellPath(scene, 34, {now, before: past(gates.cell), scale: commonScale(gates.cell),
        shown: hidden?.step(step), token: tokens[step], step, vectors: gates.cell})
      : gruPath(scene, 34, {now, before: past(hidden), shown: hidden?.step(step), token: tokens[step], step,
        vectors: gates.candidate});
    const line = lstm ? gates.cell : hidden;
    const about = {frameOf: s => backwards ? steps - 1 - s : s, left: 78, tokens: false};
    if (line) y = timeline(scene, y + 6, line, backwards ? steps - 1 : step, tokens,
      {...about, name: [`${lstm ? "Cell state" : "State"} through time, ${unitsNote(line)}`,
        `${lstm ? "Cell state" : "State"} through time`], scale: lstm ? commonScale(line) : 1});
    y = openness(scene, y, gates, step, lstm ? ["forget", "input", "output"] : ["reset", "update"], tokens);
    scene.height = y + 8;
    const said = (lstm ? [["forget gate keeps", "forget"], ["input gate lets in", "input"],
      ["output gate shows", "output"]] : [["update gate keeps", "update"], ["reset gate lets through", "reset"]])
      .map(([words, name]) => `the ${words} ${share(mean(now[name]))}`).join(", ");
    return `Step ${frame + 1} of ${steps}: reads ${quoted(tokens[step])}. On average ${said}.`;
  },
};

// Where things stand in the cell: columns from left to right, as shares of the width.
function cellPath(scene, y, {now, before, scale, shown, token, step, vectors}) {
  const {palette, width} = scene, left = 30, right = width - 30, at = part => left + (right - left) * part;
  const top = y + 64, low = y + 204, tall = 88, wide = Math.min(22, (right - left) / 18);
  const index = digits(step + 1), previous = step > 0 ? digits(step) : "₀";
  const [xBefore, xForget, xInput, xNew, xOutput, xAfter] = [0.02, 0.2, 0.36, 0.52, 0.72, 0.96].map(at);
  const xAdd = (xInput + xNew) / 2, mid = y + 136;
  scene.rect(at(0.1), y, at(0.88) - at(0.1), low + tall + 34 - y, {fill: palette.ghost, radius: 14, opacity: 0.55});
  const ink = {stroke: palette.muted, line: 1.5};
  scene.path(`M${xBefore + wide} ${top}H${xForget - 12}M${xForget + 12} ${top}H${xAdd - 12}`,
    {stroke: palette.accent, line: 3});
  scene.path(`M${xAdd + 12} ${top}H${xAfter - wide}`, {stroke: palette.accent, line: 3});
  if (before) strip(scene, xBefore - wide / 2, top - tall / 2, wide, tall, before, scale, {tip: "the cell before"});
  else unrecorded(scene, xBefore - wide / 2, top - tall / 2, wide, tall);
  heading(scene, xBefore, top + tall / 2 + 16, `c${previous}`, {align: "center"});
  for (const [x, name, letter] of [[xForget, "forget", "f"], [xInput, "input", "i"], [xNew, "candidate", "c̃"],
    [xOutput, "output", "o"]]) {
    strip(scene, x - wide / 2, low, wide, tall, now[name], 1,
      {open: name !== "candidate", tip: `${GATE_NAMES[name]}: on average ${number(mean(now[name]))}`});
    heading(scene, x, low + tall + 18, width < 560 ? `${letter}${index}` : `${GATE_NAMES[name]}${index}`,
      {align: "center"});
  }
  scene.arrow(xForget, low - 4, xForget, top + 13, ink);
  sign(scene, xForget, top, "×", {active: true});
  scene.arrow(xInput, low - 4, xAdd - 10, mid + 8, ink);
  scene.arrow(xNew, low - 4, xAdd + 10, mid + 8, ink);
  sign(scene, xAdd, mid, "×");
  scene.arrow(xAdd, mid - 12, xAdd, top + 13, ink);
  sign(scene, xAdd, top, "+", {active: true});
  const xTanh = at(0.8);
  scene.path(`M${xTanh} ${top}V${mid - 28}`, ink);
  box(scene, xTanh - 20, mid - 28, 40, 24, "tanh");
  scene.arrow(xTanh, mid - 4, xTanh, low + 18, ink);
  scene.arrow(xOutput + wide / 2 + 3, low + 30, xTanh - 12, low + 30, ink);
  sign(scene, xTanh, low + 30, "×");
  scene.arrow(xTanh + 12, low + 30, xAfter - wide / 2 - 4, low + 30, ink);
  strip(scene, xAfter - wide / 2, top - tall / 2, wide, tall, now.cell, scale,
    {active: true, tip: `the cell now: size ${sizeText(now.cell, vectors)}`});
  heading(scene, xAfter, top + tall / 2 + 16, `c${index}`, {align: "center"});
  const hidden = shown ?? now.cell.map((c, i) => Math.tanh(c) * now.output[i]);
  strip(scene, xAfter - wide / 2, low, wide, tall, hidden, 1,
    {active: true, tip: `the state: size ${sizeText(hidden, vectors)}`});
  heading(scene, xAfter, low + tall + 18, `h${index}`, {align: "center"});
  return reading(scene, low + tall + 34, (xForget + xNew) / 2, [xForget, xInput, xNew, xOutput], token, previous,
    low + tall + 28);
}

function gruPath(scene, y, {now, before, shown, token, step, vectors}) {
  const {palette, width} = scene, left = 30, right = width - 30, at = part => left + (right - left) * part;
  const top = y + 64, low = y + 204, tall = 88, wide = Math.min(22, (right - left) / 18);
  const index = digits(step + 1), previous = step > 0 ? digits(step) : "₀", mid = y + 136;
  const [xBefore, xUpdate, xReset, xNew, xAdd, xAfter] = [0.02, 0.28, 0.48, 0.68, 0.68, 0.96].map(at);
  const ink = {stroke: palette.muted, line: 1.5};
  scene.rect(at(0.1), y, at(0.88) - at(0.1), low + tall + 34 - y, {fill: palette.ghost, radius: 14, opacity: 0.55});
  const line = (x0, x1) => scene.path(`M${x0} ${top}H${x1}`, {stroke: palette.accent, line: 3});
  line(xBefore + wide, xUpdate - 12);
  line(xUpdate + 12, xAdd - 12);
  line(xAdd + 12, xAfter - wide);
  if (before) strip(scene, xBefore - wide / 2, top - tall / 2, wide, tall, before, 1, {tip: "the state before"});
  else unrecorded(scene, xBefore - wide / 2, top - tall / 2, wide, tall);
  heading(scene, xBefore, top + tall / 2 + 16, `h${previous}`, {align: "center"});
  for (const [x, name, letter] of [[xUpdate, "update", "z"], [xReset, "reset", "r"], [xNew, "candidate", "c̃"]]) {
    strip(scene, x - wide / 2, low, wide, tall, now[name], 1,
      {open: name !== "candidate", tip: `${GATE_NAMES[name]}: on average ${number(mean(now[name]))}`});
    heading(scene, x, low + tall + 18, width < 560 ? `${letter}${index}` : `${GATE_NAMES[name]}${index}`,
      {align: "center"});
  }
  scene.arrow(xUpdate, low - 4, xUpdate, top + 13, ink);
  sign(scene, xUpdate, top, "×", {active: true});
  scene.arrow(xReset + wide / 2 + 3, low + tall / 2, xNew - wide / 2 - 5, low + tall / 2, ink);
  scene.arrow(xNew, low - 4, xNew, mid + 13, ink);
  scene.path(`M${xUpdate} ${mid}H${xNew - 40}`, ink);
  box(scene, xNew - 62, mid - 12, 40, 24, "1−z");
  scene.arrow(xNew - 22, mid, xNew - 12, mid, ink);
  sign(scene, xNew, mid, "×");
  scene.arrow(xNew, mid - 12, xNew, top + 13, ink);
  sign(scene, xAdd, top, "+", {active: true});
  if (shown) strip(scene, xAfter - wide / 2, top - tall / 2, wide, tall, shown, 1,
    {active: true, tip: `the state: size ${sizeText(shown, vectors)}`});
  else ghost(scene, xAfter - wide / 2, top - tall / 2, wide, tall);
  heading(scene, xAfter, top + tall / 2 + 16, `h${index}`, {align: "center"});
  return reading(scene, low + tall + 34, (xUpdate + xNew) / 2, [xUpdate, xReset, xNew], token, previous,
    low + tall + 28);
}

// The token and the state before come in from below.
function reading(scene, y, x, into, token, previous, top) {
  const ink = {stroke: scene.palette.line, line: 1.5};
  for (const place of into) scene.path(`M${x} ${y + 26}C${x} ${y + 8} ${place} ${y + 14} ${place} ${top}`, ink);
  chip(scene, x - 26, y + 38, token, 150, {active: true});
  heading(scene, x + Math.min(75, widthOf(token, STEM) / 2 + 5) - 14, y + 38, `and h${previous}`, {});
  return y + 58;
}

// How far each gate is open, on average over its units, at every step.
function openness(scene, y, gates, step, names, tokens) {
  const {palette, width} = scene, left = 78, across = width - left - 12;
  heading(scene, 12, y + 8, ["How far the gates are open, on average over units", "How far they are open", "Gates"],
    {room: width - 200});
  openLegend(scene, y + 4, width - 170);
  names.forEach((name, row) => {
    const top = y + 24 + row * 20, {steps} = gates[name], one = across / steps;
    scene.text(left - 8, top + 7, name, {size: 12, align: "right", fill: palette.muted});
    const values = Array.from({length: steps}, (_, s) => mean(gates[name].step(s)));
    scene.cells(left, top, across, 14, heat(1, steps, values, palette.weight));
    scene.rect(left + one * step, top - 1, Math.max(2, one), 16, {stroke: palette.accent, line: 2, radius: 2});
    if (one >= 2) values.forEach((value, s) => scene.spot(left + one * s, top, one, 14,
      {tip: `${name}, step ${s + 1}: ${number(value)}`}));
  });
  return tokensBelow(scene, y + 22 + names.length * 20, left, across, tokens, step);
}

// The colours of gates, from closed, 0, to open, 1.
function openLegend(scene, y, x) {
  const {palette} = scene, steps = 61, wide = 60, style = {size: 11, fill: palette.muted};
  scene.cells(x + 52, y, wide, 8,
    heat(1, steps, Array.from({length: steps}, (_, i) => i / (steps - 1)), palette.weight));
  scene.text(x + 46, y + 4, "closed 0", {...style, align: "right"});
  scene.text(x + 58 + wide, y + 4, "1 open", {...style, align: "left"});
}
