// The inside of a tanh cell at one step: h = tanh(W x + U h + b), with the recorded terms.
// Source: Elman 1990, "Finding structure in time".
PICTURES.rnn_cell = {
  title: "Inside a tanh cell",
  choices: (example, picture) => picture.choices,
  chooses: "Layer",
  frames: view => named(view.example.states, view.choice).steps,
  opens: "last",
  draw(scene, view, frame) {
    const {example, choice} = view, packed = named(example.states, choice), states = vectorsOf(packed);
    if (!states.steps) return empty(scene);
    const terms = ["input", "state", "bias"].map(term => vectorsOf(named(example.extra, `${choice}.${term}`)));
    const backwards = choice.endsWith(".backward_layer"), step = backwards ? states.steps - 1 - frame : frame;
    const [input, state, bias] = terms.map(term => term.step(step)), now = states.step(step);
    const previous = backwards ? step + 1 : step - 1;
    const before = frame > 0 ? states.step(previous) : startsAtZero(example, packed) ? now.map(() => 0) : null;
    const sum = now.map((_, unit) => input[unit] + state[unit] + bias[unit]);
    const scale = Math.max(1, ...terms.map(term => term.scale)), tokens = tokensOf(example, packed.time, states.steps);
    const changes = now.map((value, unit) => Math.abs(value - (before ? before[unit] : 0)));
    const unit = changes.indexOf(Math.max(...changes));
    const about = {input, state, bias, sum, now, before, scale, unit, token: tokens[step], frame};
    heading(scene, 12, 14, ["One step: the new state is the tanh of a sum, h = tanh(W x + U h + b)",
      "h = tanh(W x + U h + b)"], {room: scene.width - 24});
    const y = timeline(scene, tanhCell(scene, 44, about) + 4, states, step, tokens,
      {name: [`The state through time, ${unitsNote(states)}`, "The state through time"], scale: timeScale(states),
      frameOf: s => backwards ? states.steps - 1 - s : s});
    scene.height = y + 4;
    const added = `${number(input[unit])} from the input, ${number(state[unit])} from the state before, `
      + `${number(bias[unit])} of bias`;
    return `Step ${frame + 1} of ${states.steps}: reads ${quoted(tokens[step])}. In unit ${states.units[unit] + 1}, which `
      + `${before ? "changed most" : "is largest"}: ${added}, in sum ${number(sum[unit])}; its tanh is ${number(now[unit])}.`;
  },
};

// From left to right: the state before, the three terms, their sum, tanh, the new state; the token comes from below.
function tanhCell(scene, y, {input, state, bias, sum, now, before, scale, unit, token, frame}) {
  const {palette, width} = scene, narrow = width < 560, tall = 104, wide = narrow ? 14 : 20, middle = y + tall / 2 + 10;
  const at = part => 12 + (width - 24) * part, top = middle - tall / 2, ink = {stroke: palette.muted, line: 1.5};
  const [xBefore, xU, xState, xPlus, xInput, xPlus2, xBias, xEquals, xSum, xTanh, xNow] = (narrow
    ? [0.03, 0.145, 0.27, 0.35, 0.43, 0.51, 0.59, 0.665, 0.74, 0.86, 0.97]
    : [0.05, 0.16, 0.27, 0.34, 0.41, 0.48, 0.55, 0.62, 0.69, 0.81, 0.93]).map(at);
  scene.rect(xU - (narrow ? 24 : 40), y - 8, xTanh - xU + (narrow ? 48 : 80), tall + 112,
    {fill: palette.ghost, radius: 14, opacity: 0.55});
  const index = digits(frame + 1),
    names = [`h${digits(frame)}`, `U h${digits(frame)}`, `W x${index}`, "b", "sum", `h${index}`];
  const columns = [[xBefore, before, 1], [xState, state, scale], [xInput, input, scale], [xBias, bias, scale],
    [xSum, sum, scale], [xNow, now, 1]];
  for (const [i, [x, values, high]] of columns.entries()) {
    heading(scene, x, top - 12, names[i], {align: "center"});
    if (!values) {
      unrecorded(scene, x - wide / 2, top, wide, tall);
      continue;
    }
    strip(scene, x - wide / 2, top, wide, tall, values, high,
      {active: i === 5, tip: `${names[i]}, unit ${unit + 1}: ${number(values[unit])}`});
    const one = tall / values.length;
    scene.rect(x - wide / 2 - 2, top + one * unit - 1, wide + 4, Math.max(3, one) + 2,
      {stroke: palette.ink, line: 1.5, radius: 2});
    scene.text(x, top + tall + 14, number(values[unit]), {size: narrow ? 10 : 11, fill: palette.ink});
  }
  const half = narrow ? 11 : 16;
  scene.arrow(xBefore + wide / 2 + 3, middle, xU - half - 2, middle, ink);
  box(scene, xU - half, middle - 14, 2 * half, 28, "U");
  scene.arrow(xU + half + 1, middle, xState - wide / 2 - 4, middle, ink);
  for (const x of [xPlus, xPlus2]) scene.text(x, middle, "+", {size: 16, weight: 600});
  scene.text(xEquals, middle, "=", {size: 16, weight: 600});
  const room = narrow ? 17 : 24;
  scene.arrow(xSum + wide / 2 + 3, middle, xTanh - room - 2, middle, ink);
  box(scene, xTanh - room, middle - 14, 2 * room, 28, "tanh", {size: narrow ? 11 : 13});
  scene.arrow(xTanh + room + 1, middle, xNow - wide / 2 - 4, middle, {...ink, stroke: palette.accent});
  const low = top + tall + 42;
  box(scene, xInput - half, low, 2 * half, 28, "W");
  scene.arrow(xInput, low - 2, xInput, top + tall + 24, ink);
  scene.arrow(xInput, low + 58, xInput, low + 31, ink);
  chip(scene, xInput, low + 70, token, 120, {active: true});
  heading(scene, xInput + Math.min(60, widthOf(tokenName(token), STEM) / 2 + 5) + 8, low + 70, `x${index}`);
  legend(scene, narrow ? low + 90 : low + 66, scale, narrow ? 4 : width - 200);
  return narrow ? low + 112 : low + 94;
}
