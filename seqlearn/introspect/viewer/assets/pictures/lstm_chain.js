// Three steps of an LSTM side by side, the gates inside each cell: the figure of Olah 2015, with recorded values.
PICTURES.lstm_chain = {
  title: "LSTM, three steps",
  choices: (example, picture) => picture.choices,
  chooses: "Layer",
  frames: view => vectorsOf(named(view.example.gates, view.choice).gates.cell).steps,
  // Opens at the second step, which has one on each side.
  opens: 1,
  draw(scene, view, frame) {
    const {example, choice} = view, packed = named(example.gates, choice);
    const gates = Object.fromEntries(Object.entries(packed.gates).map(([name, gate]) => [name, vectorsOf(gate)]));
    const {steps} = gates.cell, states = named(example.states, choice), hidden = states ? vectorsOf(states) : null;
    if (!steps) return empty(scene);
    const backwards = choice.endsWith(".backward_layer"), tokens = tokensOf(example, packed.time, steps);
    const placeOf = at => backwards ? steps - 1 - at : at, wide = (scene.width - 16) / 3;
    heading(scene, 12, 14,
      ["The cell state c runs along the top; gates decide what is kept, added and shown as the state h",
      "The cell state c runs along the top", "The cell state c, on top"], {room: scene.width - 24});
    const about = {gates, hidden, tokens, scale: commonScale(gates.cell), backwards};
    for (const shift of [-1, 0, 1]) {
      const at = frame + shift, x = 8 + (shift + 1) * wide;
      chainCell(scene, x, 36, wide,
        {...about, at, step: placeOf(at), known: at >= 0 && at < steps, now: shift === 0, later: shift > 0});
    }
    const y = timeline(scene, 330, gates.cell, placeOf(frame), tokens,
      {name: [`The cell state through time, ${unitsNote(gates.cell)}`, "The cell state through time"],
        scale: about.scale, frameOf: placeOf});
    scene.height = y + 4;
    const now = name => share(mean(gates[name].step(placeOf(frame))));
    const place = `Step ${frame + 1} of ${steps}: reads ${quoted(tokens[placeOf(frame)])}`;
    return `${place}. On average the forget gate keeps ${now("forget")} `
      + `of the cell state, the input gate lets in ${now("input")} of the candidate, the output gate shows ${now("output")}.`;
  },
};

// One cell between x and x + wide: the cell state above, the state below, four gates between them.
function chainCell(scene, x, y, wide, {gates, hidden, tokens, scale, step, at, known, now, later}) {
  const {palette} = scene, narrow = wide < 150, place = part => x + wide * part;
  const top = y + 68, mid = y + 112, low = y + 224;
  const bar = narrow ? 8 : 14, tall = 52, gate = y + 142, quiet = !known || later;
  const [xForget, xInput, xNew, xOutput, xTanh] = (narrow ? [0.15, 0.33, 0.48, 0.63, 0.84]
    : [0.2, 0.38, 0.52, 0.68, 0.82]).map(place);
  const line = {stroke: quiet ? palette.line : palette.accent, line: 3},
    ink = {stroke: quiet ? palette.line : palette.muted, line: 1.25};
  scene.rect(x + 4, y + 30, wide - 8, 214, {fill: palette.ghost, radius: 12, opacity: now ? 0.9 : 0.5,
    ...(now ? {stroke: palette.accent, line: 1.5} : {})});
  if (!known) {
    scene.text(x + wide / 2, y + 136, at >= 0 ? "the end" : narrow ? "before" : "before the first step",
      {size: 12, fill: palette.muted, room: wide - 16});
    return;
  }
  const radius = narrow ? 8 : 10, sum = (xInput + xNew) / 2;
  for (const [from, to] of [[x - 2, xForget - radius], [xForget + radius, sum - radius], [sum + radius, x + wide + 2]]) {
    scene.path(`M${from} ${top}H${to}`, line);
  }
  const gateNames = [[xForget, "forget", "f"], [xInput, "input", "i"], [xNew, "candidate", "c̃"],
    [xOutput, "output", "o"]];
  for (const [center, name, letter] of gateNames) {
    const values = gates[name].step(step);
    scene.path(`M${center} ${low}V${gate + tall + 2}`, ink);
    if (later) ghost(scene, center - bar / 2, gate, bar, tall);
    else strip(scene, center - bar / 2, gate, bar, tall, values, 1, {open: name !== "candidate",
      tip: `${GATE_WORDS[name]}, step ${at + 1}: on average ${number(mean(values))}`});
    scene.rect(center - 6, gate + tall + 5, 12, 14, {fill: palette.surface, radius: 3});
    scene.text(center, gate + tall + 12, letter, {size: 11, fill: palette.muted, weight: 600});
  }
  scene.arrow(xForget, gate - 4, xForget, top + radius + 2, ink);
  sign(scene, xForget, top, "×", {active: now, quiet, radius});
  scene.path(`M${xInput} ${gate - 3}V${mid}H${sum - radius}M${xNew} ${gate - 3}V${mid}H${sum + radius}`, ink);
  sign(scene, sum, mid, "×", {quiet, radius});
  scene.arrow(sum, mid - radius, sum, top + radius + 2, ink);
  sign(scene, sum, top, "+", {active: now, quiet, radius});
  scene.path(`M${xTanh} ${top}V${mid - 10}`, ink);
  const half = narrow ? 14 : 18;
  box(scene, xTanh - half, mid - 10, 2 * half, 20, "tanh", {quiet, size: narrow ? 8.5 : 11});
  const out = gate + tall / 2;
  scene.arrow(xTanh, mid + 10, xTanh, out - radius - 2, ink);
  scene.path(`M${xOutput + bar / 2 + 2} ${out}H${xTanh - radius}`, ink);
  sign(scene, xTanh, out, "×", {quiet, radius});
  scene.path(`M${xTanh} ${out + radius}V${low}H${x + wide + 2}`, {...ink, line: 2});
  scene.path(`M${x - 2} ${low}H${xOutput}`, {...ink, line: 2});
  chainEnds(scene, x, wide, {top, low, narrow, later, now, scale, token: tokens[step], at,
    cell: gates.cell, state: hidden, step, xTanh, read: xForget});
}

const GATE_WORDS = {forget: "forget gate", input: "input gate", output: "output gate", candidate: "candidate"};

// The new cell state and state as lying strips above the cell, the token below it.
function chainEnds(scene, x, wide, {top, low, later, now, scale, token, at, cell, state, step, read}) {
  const {palette} = scene, y = top - 62, index = digits(at + 1), ink = {stroke: later ? palette.line : palette.muted};
  const strips = [[x + 8, cell, scale, "c"], [x + wide / 2 + 2, state, 1, "h"]];
  for (const [left, vectors, high, letter] of strips) {
    if (!vectors) continue;
    const values = vectors.step(step);
    heading(scene, left, y + 6, `${letter}${index}`, {quiet: later});
    const from = left + widthOf(`${letter}${index}`, 12, 600) + 5, room = left + wide / 2 - 12 - from;
    if (later) ghost(scene, from, y, room, 12);
    else strip(scene, from, y, room, 12, values, high,
      {upright: false, active: now, tip: `${letter}, step ${at + 1}: size ${sizeText(values, vectors)}`});
  }
  scene.arrow(read, low + 38, read, low + 3, ink);
  const half = Math.min(wide - 20, widthOf(tokenName(token), STEM) + 10) / 2;
  chip(scene, Math.max(x + 8 + half, read), low + 50, token, wide - 20, {active: now, quiet: later});
}
