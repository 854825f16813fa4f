// One head, one token, stage by stage: query, keys and values, scores, softmax, weighted values, their sum.
// Source: Vaswani et al. 2017, section 3.2.1, equation 1.
const WALK = ["query", "keys", "scores", "softmax", "values", "sum"];

PICTURES.query_key_value = {
  title: "Query, key, value",
  choices: (example, picture) => picture.choices,
  chooses: "Module",
  heads: view => named(view.example.attention, view.choice).heads.length,
  frames: view => named(view.example.attention, view.choice).rows * WALK.length,
  opens: WALK.length - 1,
  draw(scene, view, frame) {
    const {example, choice, head} = view, module = named(example.attention, choice),
      [queries, keys] = labelsOf(example, module);
    const [query, key, value] = ["queries", "keys", "values"].map(kind => headVectors(example, kind, choice, head));
    const stage = frame % WALK.length, step = Math.floor(frame / WALK.length);
    if (!query || !key || !value || !module.columns || step >= query.steps) return empty(scene);
    const weights = headOf(module, head).row(step), scores = scoresOf(module, head, step);
    const visible = visibleKeys(module, weights, step, key.steps);
    const now = {query, key, value, weights, scores, keys, step, stage, word: queries[step], d: query.width,
      unit: unitOf(example, module.axes[1]), queryUnit: unitOf(example, module.axes[0]),
      color: scene.palette.head(head), listed: visible.slice(0, MOST_KEYS).sort((a, b) => a - b), seen: visible.length};
    scene.height = walkTable(scene, 14, now) + 8;
    const best = headOf(module, head).greatest(step, 3).map(([one, weight]) => `${quoted(keys[one])} ${share(weight)}`);
    const unit = capitalizedUnit(example, module.axes[0]);
    const place = `${unit} ${step + 1} of ${module.rows}, ${quoted(queries[step])}, head ${head + 1}`;
    return `${place}, ${WALK[stage]}: ${walkSentence(now, best)}`;
  },
};

const MOST_KEYS = 12;

// The keys that may be seen, that with the largest weight first.
function visibleKeys(module, weights, step, count) {
  const causal = module.axes[0] === module.axes[1] && module.axes[0] === "target";
  const seen = Array.from({length: Math.min(count, weights.length)}, (_, key) => key).filter(key => !causal
    || key <= step);
  return seen.sort((a, b) => weights[b] - weights[a] || a - b);
}

// A row for each key: token, key, score, weight, weighted value; the query above, the sum below.
function walkTable(scene, y,
  {query, key, value, weights, scores, keys, step, stage, word, d, color, listed, seen, queryUnit}) {
  const {palette, width} = scene, narrow = width < 560, pitch = 30, here = n => stage >= n, active = n => stage === n;
  const at = part => 12 + (width - 24) * part, long = narrow ? 56 : Math.min(150, width * 0.17), top = y + 92;
  const room = narrow ? 60 : 92, xToken = 12 + room / 2;
  const [xKey, xScore, xWeight, xValue] = (narrow ? [0.31, 0.5, 0.67, 0.9] : [0.26, 0.45, 0.61, 0.88]).map(at);
  const high = Math.max(query.scale, key.scale), sum = weightedSum(value, weights);
  const weighted = one => Array.from(value.step(one), v => Math.abs(v * weights[one]) || 0);
  const most = Math.max(...sum.map(Math.abs), ...listed.flatMap(weighted), 1e-9);
  heading(scene, 12, y,
    [`The vector x of the ${queryUnit}, times a learned matrix, is its query: q = W x`, `The query of a ${queryUnit}: q = W x`],
    {room: width - 24});
  chip(scene, xToken, y + 28, word, room, {active: active(0), weight: 600});
  strip(scene, xKey - long / 2, y + 20, long, 16, query.step(step), high,
    {upright: false, active: active(0), tip: "the query"});
  heading(scene, xKey + long / 2 + 10, y + 28, `query q${digits(step + 1)}`);
  const product = narrow ? "q·k/√d" : `q·k / √${d}`;
  if (!scores) heading(scene, xScore, top - 42, "relative to the highest", {align: "center", quiet: !here(2)});
  const names = [[xKey, "keys k", 1], [xScore, product, 2], [xWeight, "softmax", 3],
    [xValue, narrow ? "weight·v" : "weight × value v", 4]];
  for (const [x, text, from] of names) heading(scene, x, top - 26, text, {align: "center", quiet: !here(from)});
  listed.forEach((one, i) => {
    const row = top + i * pitch, weight = weights[one] || 0;
    chip(scene, xToken, row, keys[one], room, {quiet: !here(1)});
    if (here(1)) strip(scene, xKey - long / 2, row - 7, long, 14, key.step(one), high,
      {upright: false, active: active(1), tip: `key of ${quoted(keys[one])}`});
    else ghost(scene, xKey - long / 2, row - 7, long, 14);
    const score = scores ? scores[one] : Math.log(weight / Math.max(...weights));
    scene.text(xScore, row, here(2) ? Number.isFinite(score) ? number(score) : "−∞" : "·",
      {size: 12, fill: active(2) ? palette.accent : here(2) ? palette.ink : palette.faint, weight: active(2) ? 600
        : 400});
    const bar = narrow ? 28 : 54, from = xWeight - bar / 2 - (narrow ? 10 : 14);
    scene.rect(from, row - 7, bar, 14, {fill: palette.ghost, radius: 3});
    if (here(3) && weight > 0) scene.rect(from, row - 7, Math.max(1, bar * weight), 14, {fill: color, radius: 3});
    if (here(3)) scene.text(from + bar + 5, row, share(weight),
      {size: 11, align: "left", fill: active(3) ? palette.accent : palette.muted});
    if (here(4)) strip(scene, xValue - long / 2, row - 7, long, 14, value.step(one).map(v => v * weight), most,
      {upright: false, active: active(4), tip: `value of ${quoted(keys[one])}, times ${share(weight)}`});
    else ghost(scene, xValue - long / 2, row - 7, long, 14);
  });
  const bottom = top + listed.length * pitch + 8;
  scene.path(`M${xValue - long / 2} ${bottom - 14}h${long}`, {stroke: here(5) ? palette.muted : palette.line});
  if (here(5)) strip(scene, xValue - long / 2, bottom, long, 16, sum, most,
    {upright: false, active: active(5), tip: "the output of the head"});
  else ghost(scene, xValue - long / 2, bottom, long, 16);
  heading(scene, xValue - long / 2 - 10, bottom + 8, `their sum, the output z${digits(step + 1)}`,
    {align: "right", quiet: !here(5)});
  if (listed.length < seen) scene.text(12, bottom + (narrow ? 32 : 8),
    `the ${listed.length} largest of ${seen} weights`,
    {size: 11, align: "left", fill: palette.muted});
  return legends(scene, bottom + (narrow ? 46 : 32), [["q, k", high, xKey - 92], ["v", most, xValue - 92]]);
}

function walkSentence({stage, d, scores, word, weights, unit}, best) {
  return [
    `its vector, times a learned matrix, is the query: what ${quoted(word)} looks for.`,
    `every ${unit} has a key, from another matrix: what it offers.`,
    scores ? `the query is multiplied with each key, and divided by √${d}: the scores.`
      : "the scores were not recorded; shown is each one relative to the highest, in nats.",
    `the softmax turns the scores into weights that sum to one: ${best.join(", ") || "no key may be seen"}.`,
    `the value of every ${unit}, from a third matrix, is multiplied by its weight.`,
    `their sum is the output of this head, a mixture of ${weights.filter(weight => weight > 0.01).length} values.`,
  ][stage];
}
