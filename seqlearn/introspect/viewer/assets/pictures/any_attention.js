// Attention in general: a query is compared with every key; the weights decide how much of each value goes into the
// sum.
PICTURES.any_attention = {
  title: "Attention in general",
  choices: example => example.attention.map(module => module.name),
  chooses: "Module",
  heads: view => named(view.example.attention, view.choice).heads.length,
  frames: view => named(view.example.attention, view.choice).rows,
  draw(scene, view, frame) {
    const {example} = view, module = named(example.attention, view.choice), head = headOf(module, view.head);
    if (!module.rows || !module.columns) return empty(scene);
    const [queries, keys] = labelsOf(example, module), weights = head.row(frame),
      scores = scoresOf(module, view.head, frame);
    const of = kind => headVectors(example, kind, view.choice, view.head);
    const vectors = {query: of("queries"), key: of("keys"), value: of("values")};
    vectors.scale = Math.max(vectors.query?.scale ?? 0, vectors.key?.scale ?? 0, 1e-9);
    const most = 12, order = keys.map((_, key) => key).sort((a, b) => weights[b] - weights[a] || a - b);
    const listed = (keys.length > most ? order.slice(0, most) : order).sort((a, b) => a - b);
    const color = module.heads.length > 1 ? scene.palette.head(view.head) : scene.palette.accent;
    const now = {weights, scores, queries, keys, listed, vectors, color, word: queries[frame], frame};
    const bottom = threeColumns(scene, 14, now);
    scene.height = bottom + 8;
    const best = head.greatest(frame, 3).map(([key, weight]) => `${quoted(keys[key])} ${share(weight)}`).join(", ");
    const others = listed.length < keys.length ? ` The ${listed.length} largest of ${keys.length} weights are shown.`
      : "";
    const place = `Query ${frame + 1} of ${module.rows}, ${quoted(queries[frame])}`, found = best
      || "no key may be seen";
    return `${place}: it is compared with ${keys.length} keys. The softmax turns the scores into weights that sum to `
      + `one: ${found}. The output is the sum of all values, each times its weight.${others}`;
  },
};

// Widths in the picture: of the texts beside the bars, and of the sum.
const SCORE = 44, SHARE = 43, SUM = 28;

// Query, keys with their weights, values, and their sum, from left to right.
function threeColumns(scene, y, now) {
  const {scores, keys, listed, vectors, color, word, weights, frame} = now;
  const {palette} = scene, pitch = 28, top = y + 30, high = Math.max(96, listed.length * pitch);
  const place = placesOf(scene, now), {xQuery, xKey, xStrip, xScore, xBar, xValue, xSum, room, asked, long, bar} = place;
  const middle = top + high / 2;
  columnNames(scene, y, place);
  chip(scene, xQuery, middle - (vectors.query ? 20 : 0), word, asked, {active: true, weight: 600});
  if (vectors.query) strip(scene, xQuery - long / 2, middle, long, 14, vectors.query.step(frame), vectors.scale,
    {upright: false, active: true, tip: "the query"});
  const offset = (high - listed.length * pitch) / 2 + pitch / 2,
    most = Math.max(...listed.map(key => weights[key]), 1e-9);
  listed.forEach((key, i) => {
    const row = top + offset + i * pitch, weight = weights[key] || 0, line = {stroke: color, line: 0.75 + 3 * weight,
      opacity: 0.15 + 0.85 * Math.sqrt(weight)};
    const [start, end] = [xQuery + Math.max(vectors.query ? long : 0, asked) / 2 + 4, xKey - room / 2 - 3];
    const bend = (start + end) / 2;
    scene.path(`M${start} ${middle}C${bend} ${middle} ${bend} ${row} ${end} ${row}`, line);
    chip(scene, xKey, row, keys[key], room, {weight: weight === most ? 600 : 400});
    if (place.beside) strip(scene, xStrip, row - 6, long, 12, vectors.key.step(key), vectors.scale,
      {upright: false, tip: `the key of ${quoted(keys[key])}`});
    scene.rect(xBar, row - 7, bar, 14, {fill: palette.ghost, radius: 3});
    if (weight > 0) scene.rect(xBar, row - 7, Math.max(1, bar * weight), 14, {fill: color, radius: 3});
    scene.text(xBar + bar + 5, row, share(weight), {size: 11, align: "left", fill: palette.muted});
    if (place.scored) scene.text(xScore, row, Number.isFinite(scores[key]) ? number(scores[key], 1) : "−∞",
      {size: 11, align: "right", fill: palette.muted});
    const score = scores ? `score ${Number.isFinite(scores[key]) ? number(scores[key]) : "−∞"}, ` : "";
    scene.spot(xKey - room / 2, row - pitch / 2, xBar + bar - xKey + room / 2, pitch,
      {tip: `${quoted(keys[key])}: ${score}${share(weight)}`});
    valueLine(scene, {row, key, weight, xValue, xSum, long, middle, vectors, line});
  });
  const sum = vectors.value ? weightedSum(vectors.value, weights) : null;
  if (sum) strip(scene, xSum - 8, middle - 36, 16, 72, sum, vectors.value.scale,
    {active: true, tip: `the output: size ${sizeText(sum, vectors.value)}`});
  else sign(scene, xSum, middle, "+", {active: true, radius: 14});
  const named = [["q, k", vectors.query && vectors.scale, xQuery - 30], ["v", vectors.value?.scale, xValue - 92]];
  return legends(scene, top + high + 16, named.filter(([, scale]) => scale));
}

// Where the columns stand: each as wide as what it holds, and the rest of the width between them.
function placesOf({width}, {queries, keys, scores, vectors}) {
  const narrow = width < 560, beside = Boolean(vectors.key) && !narrow, scored = Boolean(scores) && beside;
  const long = narrow ? 34 : width < 800 ? 52 : 78, bar = narrow ? 24 : width < 800 ? 44 : 60;
  const [asked, room] = [queries, keys].map(labels => pitchOf(labels, 24, narrow ? 56 : 90));
  const columns = [Math.max(asked, long), room + (beside ? long + 8 : 0), scored ? SCORE : 0, bar + SHARE, long, SUM];
  const least = [12, 8, scored ? 8 : 0, 4, 10], shares = [0.36, 0.12, scored ? 0.04 : 0, 0.14, 0.34];
  const margin = narrow ? 6 : 12, add = numbers => numbers.reduce((a, b) => a + b, 0);
  const free = Math.max(0, width - 2 * margin - add(columns) - add(least)) / add(shares);
  const starts = columns.map((_, i) => margin + add(columns.slice(0, i)) + add(least.slice(0, i))
    + free * add(shares.slice(0, i)));
  const [query, key, score, xBar, value, sum] = starts;
  return {narrow, beside, scored, long, bar, asked, room, xQuery: query + columns[0] / 2, xKey: key + room / 2,
    xStrip: key + room + 8, xKeys: key + columns[1] / 2, xScore: score + columns[2], xBar, xValue: value + long / 2,
    xSum: sum + SUM / 2};
}

function columnNames(scene, y, {narrow, scored, xQuery, xKeys, xScore, xBar, xValue, xSum}) {
  const many = text => narrow ? text : `${text}s`;
  for (const [x, text] of [[xQuery, "query"], [xKeys, many("key")], [xValue, many("value")], [xSum, "sum"]]) {
    heading(scene, x, y, text, {align: "center"});
  }
  heading(scene, xBar, y, many("weight"));
  if (scored) heading(scene, xScore, y, "scores", {align: "right"});
}

// A value, as it is weighted, and its way into the sum.
function valueLine(scene, {row, key, weight, xValue, xSum, long, middle, vectors, line}) {
  const {palette} = scene;
  if (vectors.value) strip(scene, xValue - long / 2, row - 6, long, 12, vectors.value.step(key), vectors.value.scale,
    {upright: false, opacity: 0.15 + 0.85 * Math.sqrt(weight), tip: `the value, times ${share(weight)}`});
  else scene.rect(xValue - long / 2, row - 6, long, 12, {fill: palette.ghost, radius: 3});
  const [start, end] = [xValue + long / 2 + 4, xSum - 14], bend = (start + end) / 2;
  if (weight > 0.004) scene.path(`M${start} ${row}C${bend} ${row} ${bend} ${middle} ${end} ${middle}`, line);
}
