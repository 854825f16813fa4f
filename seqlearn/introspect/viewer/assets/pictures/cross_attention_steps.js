// One decoding step with single-head cross-attention, stage by stage: state, scores, softmax, weighted
// states, context, concatenation, feed-forward layer, predicted token.
// Source: Luong et al. 2015, equations 5 to 7. A score that was not recorded is shown relative to the highest of its
// row.
const STAGES = ["state", "scores", "softmax", "weighted", "sum", "concatenation", "feed-forward", "prediction"];

PICTURES.cross_attention_steps = {
  title: "Attention in detail",
  choices: () => [],
  frames: ({example, picture}) => named(example.attention, picture.attention).rows * STAGES.length,
  // Opens at the last stage of the first token.
  opens: STAGES.length - 1,
  draw(scene, view, frame) {
    const now = momentOf(scene, view, frame), {stage, step, module, outputTokens, inputTokens} = now;
    if (!now.count || step >= now.decoder.steps) return empty(scene);
    const state = drawState(scene, now), place = layoutOf(scene, now);
    drawLabels(scene, now, place);
    for (let key = place.first; key < place.stop; key++) drawKey(scene, now, place, state, key);
    const {first, stop, narrow, left, rows, tall} = place;
    if (!narrow || first > 0 || stop < now.count) {
      beyond(scene, first, stop, now.count, narrow ? 2 : left - 20, scene.width - 4, rows.states + tall + 40);
    }
    const bottom = drawOutput(scene, rows.weighted + tall + 62, now, place);
    const written = textOf(view.example, "target", step + (stage >= 7 ? 1 : 0));
    heading(scene, 12, bottom + 22, "written so far");
    const shown = tail(written, scene.width - (narrow ? 24 : 130));
    scene.text(narrow ? 12 : 112, bottom + (narrow ? 44 : 22), shown, {size: 15, weight: 500, align: "left"});
    scene.height = legend(scene, bottom + (narrow ? 68 : 50), 1) + 8;
    const best = now.head.greatest(step, 3).map(([key, w]) => `${quoted(now.keys[key])} ${share(w)}`);
    const words = sentence(stage, {...now, input: inputTokens[step], word: outputTokens[step], best, written,
      unit: unitOf(view.example, "target")});
    return `${capitalizedUnit(view.example, "target")} ${step + 1} of ${module.rows}, ${STAGES[stage]}: ${words}`;
  },
};

// Everything that belongs to one frame: the step, its stage and its numbers.
function momentOf(scene, {example, picture}, frame) {
  const module = named(example.attention, picture.attention), head = headOf(module, 0);
  const stage = frame % STAGES.length, step = Math.floor(frame / STAGES.length);
  const vectors = name => vectorsOf(named(example.states, name));
  const encoder = vectors(picture.source), decoder = vectors(picture.target);
  const output = picture.output ? vectors(picture.output) : null;
  const [outputTokens, keys] = labelsOf(example, module), inputTokens = tokensOf(example, "target", module.rows);
  const count = Math.min(module.columns, encoder.steps), weights = head.row(step);
  const context = weightedSum(encoder, weights), scores = scoresOf(module, 0, step);
  const long = Math.min(160, (scene.width - 60) / 2), narrow = scene.width < 720;
  const here = n => stage >= n, active = n => stage === n;
  return {
    module, head, stage, step, encoder, decoder, output, outputTokens, keys, inputTokens,
    count, weights, context, scores, long, narrow, here,
    active, top: head.tops[step], index: digits(step + 1),
  };
}

// The decoder reads a token and has a state; returns the middle of the state.
function drawState(scene, {narrow, inputTokens, step, decoder, active, long, index}) {
  const {width} = scene, title = narrow ? "decoder reads" : "The decoder reads";
  heading(scene, 12, 22, title);
  const half = Math.min(76, Math.max(18, widthOf(inputTokens[step], STEM) + 10)) / 2;
  const x0 = 20 + widthOf(title, 12, 600) + half;
  const wide = chip(scene, x0, 22, inputTokens[step], 76, {active: active(0)});
  scene.arrow(x0 + wide / 2 + 4, 22, x0 + wide / 2 + 24, 22);
  const x = x0 + wide / 2 + 32, room = Math.min(long, width - x - 44), state = decoder.step(step);
  const tip = `decoder state: size ${sizeText(state, decoder)}`;
  strip(scene, x, 14, room, 16, state, timeScale(decoder), {upright: false, active: active(0), tip});
  heading(scene, x + room + 8, 22, `s${index}`);
  return x + room / 2;
}

// Where the encoder states stand: as many as fit, around the one with the largest weight.
function layoutOf({width}, {keys, head, step, count, narrow}) {
  const pitch = pitchOf(keys, 38, 76), left = narrow ? 8 : 96, room = Math.floor((width - left - 12) / pitch);
  const heavy = head.greatest(step, 1)[0]?.[0] ?? 0, [first, stop] = stretch(count, room, heavy);
  const start = left + (width - left - 8 - pitch * (stop - first)) / 2 + pitch / 2;
  const shift = narrow ? 18 : 0;
  const rows = {states: 96 + shift, scores: 232 + 2 * shift, softmax: 258 + 3 * shift, weighted: 346 + 4 * shift};
  return {pitch, left, heavy, first, stop, rows, narrow, tall: 64, at: key => start + (key - first) * pitch};
}

function drawLabels(scene, {here, scores}, {rows, tall, narrow, left}) {
  const label = (y, text, quiet, above) => {
    heading(scene, narrow ? 12 : left - 12, narrow ? above : y, text, {quiet, align: narrow ? "left" : "right"});
  };
  label(rows.states + tall / 2, "states", false, rows.states - 16);
  if (scores) label(rows.scores, "scores", !here(1), rows.scores - 20);
  else heading(scene, 12, rows.scores - 20, "scores, relative to the highest", {quiet: !here(1)});
  label(rows.softmax + 30, "softmax", !here(2), rows.softmax - 6);
  label(rows.weighted + tall / 2, narrow ? "states × weight" : "× weight", !here(3), rows.weighted - 16);
}

// One encoder state from top to bottom: state, token, score, weight, weighted state.
function drawKey(scene, now, place, state, key) {
  const {palette} = scene, {here, active, encoder, keys, weights, top, narrow, long} = now;
  const {rows, tall, pitch, heavy} = place, x = place.at(key), value = encoder.step(key);
  const weight = weights[key], part = top > 0 ? weight / top : 0, scale = timeScale(encoder);
  if (here(1)) {
    const style = {stroke: palette.accent, line: 0.75 + 2.5 * (here(2) ? part : 0),
      opacity: here(2) ? 0.1 + 0.9 * part : 0.35};
    scene.path(`M${state} 34C${state} 70 ${x} 56 ${x} ${rows.states - 5}`, style);
  }
  strip(scene, x - 8, rows.states, 16, tall, value, scale, {tip: `encoder state ${key + 1}, ${quoted(keys[key])}`});
  chip(scene, x, rows.states + tall + 22, keys[key], pitch - 6, {active: here(2) && key === heavy});
  drawScore(scene, x, rows.scores, now.scores ? now.scores[key] : Math.log(weight / top), now);
  drawWeight(scene, x, rows.softmax, weight, pitch, keys[key], now);
  if (here(3)) {
    const product = value.map(v => v * weight);
    strip(scene, x - 8, rows.weighted, 16, tall, product, scale, {active: active(3) && part > 0.5});
  } else ghost(scene, x - 8, rows.weighted, 16, tall);
  if (here(4)) {
    const sum = (narrow ? 16 : 24) + long / 2, y = rows.weighted + tall;
    const path = `M${x} ${y + 4}C${x} ${y + 40} ${sum} ${y + 20} ${sum} ${y + 54}`;
    scene.path(path, {stroke: palette.accent, line: 0.75 + 2 * part, opacity: 0.1 + 0.9 * part});
  }
}

function drawScore(scene, x, y, score, {here, active}) {
  const {palette} = scene;
  if (!here(1)) { scene.text(x, y, "·", {fill: palette.faint}); return; }
  const text = Number.isFinite(score) ? number(score, score < -9.95 ? 0 : 1) : "−∞";
  scene.text(x, y, text, {size: 12, fill: active(1) ? palette.accent : palette.ink, weight: active(1) ? 600 : 400});
}

function drawWeight(scene, x, y, weight, pitch, token, {here, active}) {
  const {palette} = scene;
  if (!here(2)) { scene.path(`M${x - 9} ${y + 44}h18`, {stroke: palette.line}); return; }
  scene.rect(x - 9, y + 4, 18, 40, {fill: palette.ghost, radius: 2});
  const height = Math.max(1, 40 * weight), fill = css(palette.weight(0.35 + 0.65 * weight));
  scene.rect(x - 9, y + 44 - 40 * weight, 18, height, {fill, radius: 2});
  const small = weight < 0.005, ink = small ? palette.faint : active(2) ? palette.accent : palette.ink;
  const style = {size: 11, room: pitch, fill: ink, weight: active(2) ? 600 : 400};
  scene.text(x, y + 56, small ? "0" : share(weight), style);
  scene.spot(x - pitch / 2, y, pitch, 64, {tip: `${quoted(token)}: ${share(weight)}`});
}

// Context and state side by side, through a layer, to a token; returns the lower edge.
function drawOutput(scene, y, now, {narrow}) {
  const {here, active, long, index, context, encoder, decoder, step, output} = now;
  const x = narrow ? 16 : 24, {palette} = scene, state = decoder.step(step);
  const tip = `context: size ${sizeText(context, encoder)}`;
  if (here(4)) strip(scene, x, y, long, 16, context, timeScale(encoder), {upright: false, active: active(4), tip});
  else ghost(scene, x, y, long, 16);
  heading(scene, x + long / 2, y + 32, `context${index}`, {align: "center", quiet: !here(4)});
  const xState = x + long + (here(5) ? 4 : 12);
  if (here(5)) {
    strip(scene, xState, y, long, 16, state, timeScale(decoder), {upright: false, tip: "decoder state"});
    const style = {stroke: active(5) ? palette.accent : palette.muted, line: active(5) ? 2 : 1.25, radius: 6};
    scene.rect(x - 5, y - 5, 2 * long + 14, 26, style);
  } else ghost(scene, xState, y, long, 16);
  heading(scene, xState + long / 2, y + 32, `s${index}`, {align: "center", quiet: !here(5)});
  const end = x + 2 * long + 14, boxed = narrow ? [x, y + 60] : [end + 24, y - 8], wide = narrow ? 84 : 112;
  const ink = {stroke: here(6) ? palette.muted : palette.line};
  if (narrow) scene.arrow(x + wide / 2, y + 44, x + wide / 2, y + 57, ink);
  else scene.arrow(end + 2, y + 8, boxed[0] - 3, y + 8, ink);
  box(scene, boxed[0], boxed[1], wide, 32, "feed-forward",
    {active: active(6), quiet: !here(6), size: narrow ? 11 : 13});
  drawToken(scene, boxed[0] + wide, boxed[1] + 16, now, output?.step(step));
  return Math.max(y + 40, boxed[1] + 50);
}

// The layer's output and the token that it predicts.
function drawToken(scene, x, middle, {here, active, narrow, long, index, output, outputTokens, step}, vector) {
  const {palette} = scene, start = x + 24, ink = quiet => ({stroke: quiet ? palette.line : palette.muted});
  scene.arrow(x + 3, middle, start - 4, middle, ink(!here(6)));
  const room = Math.max(40, Math.min(long, scene.width - start - (narrow ? 96 : 130)));
  if (here(6) && vector) {
    const tip = `output: size ${sizeText(vector, output)}`;
    strip(scene, start, middle - 8, room, 16, vector, timeScale(output), {upright: false, active: active(6), tip});
  } else ghost(scene, start, middle - 8, room, 16);
  heading(scene, start + room / 2, middle + 24, `s̃${index}`, {align: "center", quiet: !here(6)});
  scene.arrow(start + room + 4, middle, start + room + 22, middle, ink(!here(7)));
  const style = {active: active(7), quiet: !here(7), weight: 600};
  chip(scene, start + room + (narrow ? 54 : 66), middle, here(7) ? outputTokens[step] : "?", narrow ? 64 : 84, style);
}

function sentence(stage, {input, word, best, context, encoder, scores, written, unit}) {
  return [
    `the decoder reads ${quoted(input)} and has a new state.`,
    scores ? "the state is scored against every encoder state."
      : "the state is scored against every encoder state; shown relative to the highest, in nats.",
    `the softmax turns scores into weights: ${best.join(", ")}.`,
    "every encoder state is multiplied by its weight.",
    `their sum is the context, of size ${sizeText(context, encoder)}.`,
    "context and state are concatenated.",
    "one layer computes a new vector from both.",
    `the predicted ${unit} is ${quoted(word)}, with attention on ${best[0] ?? "nothing"}. Written so far: ${ending(written)}`,
  ][stage];
}
