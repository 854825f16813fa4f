// The decoder with attention, one stage after another: scores, softmax, sum, concatenation, word.
// Source: Luong et al. 2015, equations 5 to 7; a score is shown relative to the highest of its row.
const STAGES = ["state", "scores", "softmax", "weighted", "sum", "concatenation", "feed-forward", "word"];

PICTURES.cross_attention_steps = {
  title: "Attention, step by step",
  choices: () => [],
  frames: ({example, picture}) => named(example.attention, picture.attention).rows * STAGES.length,
  // Opens with the first word, whole.
  opens: STAGES.length - 1,
  draw(scene, {example, picture}, frame) {
    const {palette, width} = scene, stage = frame % STAGES.length, step = Math.floor(frame / STAGES.length);
    const module = named(example.attention, picture.attention), head = headOf(module, 0);
    const [encoder, decoder] = [picture.source, picture.target].map(name => vectorsOf(named(example.states, name)));
    const answers = picture.answer ? vectorsOf(named(example.states, picture.answer)) : null;
    const [says, keys] = labelsOf(example, module), fed = tokensOf(example, "target", module.rows);
    const weights = head.row(step), top = head.tops[step], count = Math.min(module.columns, encoder.steps);
    if (!count || step >= decoder.steps) return empty(scene);
    const state = decoder.step(step), context = contextOf(encoder, weights, count);
    const here = n => stage >= n, active = n => stage === n;
    const long = Math.min(160, (width - 60) / 2), index = digits(step + 1);

    // The decoder has read a token and has a state.
    heading(scene, 12, 22, width < 560 ? "decoder reads" : "The decoder reads");
    const x0 = 20 + widthOf(width < 560 ? "decoder reads" : "The decoder reads", 12, 600) + Math.min(76, Math.max(18, widthOf(fed[step], STEM) + 10)) / 2, wide = chip(scene, x0, 22, fed[step], 76, {active: active(0)});
    scene.arrow(x0 + wide / 2 + 4, 22, x0 + wide / 2 + 24, 22);
    const xState = x0 + wide / 2 + 32, longState = Math.min(long, width - xState - 44);
    strip(scene, xState, 14, longState, 16, state, timeScale(decoder), {upright: false, active: active(0), tip: `the decoder's state: size ${number(size(state))}`});
    heading(scene, xState + longState + 8, 22, `s${index}`);

    // The encoder's states, those around the greatest weight.
    const pitch = pitchOf(keys, 38, 76), left = width < 560 ? 8 : 96, room = Math.floor((width - left - 12) / pitch);
    const heavy = head.greatest(step, 1)[0]?.[0] ?? 0, [first, stop] = stretch(count, room, heavy);
    const start = left + (width - left - 8 - pitch * (stop - first)) / 2 + pitch / 2, at = key => start + (key - first) * pitch;
    const narrow = width < 560, shift = narrow ? 18 : 0;
    const rows = {states: 96 + shift, scores: 232 + 2 * shift, softmax: 258 + 3 * shift, weighted: 346 + 4 * shift};
    const tall = 64, label = (y, text, quiet, above) => heading(scene, narrow ? 12 : left - 12, narrow ? above : y, text, {quiet, align: narrow ? "left" : "right"});
    label(rows.states + tall / 2, "states", false, rows.states - 16);
    label(rows.scores, "scores", !here(1), rows.scores - 20);
    label(rows.softmax + 30, "softmax", !here(2), rows.softmax - 6);
    label(rows.weighted + tall / 2, narrow ? "states × weight" : "× weight", !here(3), rows.weighted - 16);
    for (let key = first; key < stop; key++) {
      const x = at(key), weight = weights[key], part = top > 0 ? weight / top : 0, value = encoder.step(key);
      if (here(1)) scene.path(`M${xState + longState / 2} 34C${xState + longState / 2} 70 ${x} 56 ${x} ${rows.states - 5}`, {stroke: palette.accent, line: 0.75 + 2.5 * (here(2) ? part : 0), opacity: here(2) ? 0.1 + 0.9 * part : 0.35});
      strip(scene, x - 8, rows.states, 16, tall, value, timeScale(encoder), {tip: `encoder state ${key + 1}, ${quoted(keys[key])}`});
      chip(scene, x, rows.states + tall + 22, keys[key], pitch - 6, {active: here(2) && key === heavy});
      const score = Math.log(weight / top);
      if (here(1)) scene.text(x, rows.scores, Number.isFinite(score) ? number(score, score < -9.95 ? 0 : 1) : "−∞", {size: 12, fill: active(1) ? palette.accent : palette.ink, weight: active(1) ? 600 : 400});
      else scene.text(x, rows.scores, "·", {fill: palette.faint});
      if (here(2)) {
        scene.rect(x - 9, rows.softmax + 4, 18, 40, {fill: palette.ghost, radius: 2});
        scene.rect(x - 9, rows.softmax + 44 - 40 * weight, 18, Math.max(1, 40 * weight), {fill: css(palette.weight(0.35 + 0.65 * weight)), radius: 2});
        scene.text(x, rows.softmax + 56, weight < 0.005 ? "0" : share(weight), {size: 11, room: pitch, fill: weight < 0.005 ? palette.faint : active(2) ? palette.accent : palette.ink, weight: active(2) ? 600 : 400});
        scene.spot(x - pitch / 2, rows.softmax, pitch, 64, {tip: `${quoted(keys[key])}: ${share(weight)}`});
      } else scene.path(`M${x - 9} ${rows.softmax + 44}h18`, {stroke: palette.line});
      if (here(3)) strip(scene, x - 8, rows.weighted, 16, tall, value.map(v => v * weight), timeScale(encoder), {active: active(3) && part > 0.5});
      else ghost(scene, x - 8, rows.weighted, 16, tall);
      const xSum = narrow ? 16 + long / 2 : 24 + long / 2;
      if (here(4)) scene.path(`M${x} ${rows.weighted + tall + 4}C${x} ${rows.weighted + tall + 40} ${xSum} ${rows.weighted + tall + 20} ${xSum} ${rows.weighted + tall + 54}`, {stroke: palette.accent, line: 0.75 + 2 * part, opacity: 0.1 + 0.9 * part});
    }
    if (!narrow || first > 0 || stop < count) beyond(scene, first, stop, count, narrow ? 2 : left - 20, width - 4, rows.states + tall + 40);

    const y = rows.weighted + tall + 62;
    const bottom = combination(scene, y, {long, narrow, stage, index, context, state, scale: timeScale(encoder), stateScale: timeScale(decoder), answer: answers?.step(step), answerScale: answers ? timeScale(answers) : 1, word: says[step], answers});
    const written = joined(says.slice(0, step + (here(7) ? 1 : 0)));
    heading(scene, 12, bottom + 22, "written so far");
    scene.text(narrow ? 12 : 112, bottom + (narrow ? 44 : 22), tail(written, width - (narrow ? 24 : 130)), {size: 15, weight: 500, align: "left"});
    scene.height = legend(scene, bottom + (narrow ? 68 : 50), 1) + 8;
    return `Word ${step + 1} of ${module.rows}, ${STAGES[stage]}: ${spoken(stage, {fed: fed[step], word: says[step], best: head.greatest(step, 3).map(([key, w]) => `${quoted(keys[key])} ${share(w)}`), context, written})}`;
  },
};

function contextOf(encoder, weights, count) {
  const sum = new Float32Array(encoder.count);
  for (let key = 0; key < count; key++) {
    if (weights[key] > 0) encoder.step(key).forEach((value, unit) => { sum[unit] += weights[key] * value; });
  }
  return sum;
}

// Context and state side by side, through a layer, to a word.
function combination(scene, y, {long, narrow, stage, index, context, state, scale, stateScale, answer, answerScale, word}) {
  const here = n => stage >= n, active = n => stage === n, x = narrow ? 16 : 24, {palette} = scene;
  if (here(4)) strip(scene, x, y, long, 16, context, scale, {upright: false, active: active(4), tip: `the context: size ${number(size(context))}`});
  else ghost(scene, x, y, long, 16);
  heading(scene, x + long / 2, y + 32, `context${index}`, {align: "center", quiet: !here(4)});
  const xState = x + long + (here(5) ? 4 : 12);
  if (here(5)) {
    strip(scene, xState, y, long, 16, state, stateScale, {upright: false, tip: "the decoder's state"});
    scene.rect(x - 5, y - 5, 2 * long + 14, 26, {stroke: active(5) ? palette.accent : palette.muted, line: active(5) ? 2 : 1.25, radius: 6});
  } else ghost(scene, xState, y, long, 16);
  heading(scene, xState + long / 2, y + 32, `s${index}`, {align: "center", quiet: !here(5)});
  const end = x + 2 * long + 14, boxed = narrow ? [x, y + 60] : [end + 24, y - 8], wide = narrow ? 84 : 112;
  const ink = quiet => ({stroke: quiet ? palette.line : palette.muted});
  if (narrow) scene.arrow(x + wide / 2, y + 44, x + wide / 2, y + 57, ink(!here(6)));
  else scene.arrow(end + 2, y + 8, boxed[0] - 3, y + 8, ink(!here(6)));
  const middle = boxed[1] + 16, xAnswer = boxed[0] + wide + 24;
  box(scene, boxed[0], boxed[1], wide, 32, "feed-forward", {active: active(6), quiet: !here(6), size: narrow ? 11 : 13});
  scene.arrow(boxed[0] + wide + 3, middle, xAnswer - 4, middle, ink(!here(6)));
  const room = Math.max(40, Math.min(long, scene.width - xAnswer - (narrow ? 96 : 130)));
  if (here(6) && answer) strip(scene, xAnswer, middle - 8, room, 16, answer, answerScale, {upright: false, active: active(6), tip: `the answer: size ${number(size(answer))}`});
  else ghost(scene, xAnswer, middle - 8, room, 16);
  heading(scene, xAnswer + room / 2, middle + 24, `s̃${index}`, {align: "center", quiet: !here(6)});
  scene.arrow(xAnswer + room + 4, middle, xAnswer + room + 22, middle, ink(!here(7)));
  chip(scene, xAnswer + room + (narrow ? 54 : 66), middle, here(7) ? word : "?", narrow ? 64 : 84, {active: active(7), quiet: !here(7), weight: 600});
  return Math.max(y + 40, middle + 34);
}

function spoken(stage, {fed, word, best, context, written}) {
  return [
    `the decoder reads ${quoted(fed)} and has a new state.`,
    "the state is scored against every encoder state; the highest score counts as 0, in nats.",
    `the softmax makes weights of the scores: ${best.join(", ")}.`,
    "every encoder state is multiplied by its weight.",
    `their sum is the context, of size ${number(size(context))}.`,
    "context and state are put side by side.",
    "one layer makes a new vector of both.",
    `the answer is ${quoted(word)}, looking at ${best[0] ?? "nothing"}. Written so far: ${ending(written)}`,
  ][stage];
}
