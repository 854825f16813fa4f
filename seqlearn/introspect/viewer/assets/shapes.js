// Parts that several pictures share: strips of numbers, chips with words, boxes, windows.
const STEM = 13;
const digits = n => String(n).replace(/\d/g, d => "₀₁₂₃₄₅₆₇₈₉"[d]);
const number = (x, places = 2) => Number.isFinite(x)
  ? x.toFixed(places).replace(/^-(0\.?0*)$/, "$1").replace("-", "−") : "not a number";
const share = x => !Number.isFinite(x) ? "not a number" : x > 0 && x < 0.0005 ? "<0.1%"
  : `${(100 * x).toFixed(x < 0.0995 ? 1 : 0)}%`;
// Reserved tokens have names: [on a chip, in a sentence].
const SPECIAL = new Map([["<s>", ["start", "the start symbol"]], ["</s>", ["end", "the end of the text"]],
  ["<unk>", ["unknown", "an unknown token"]], ["<pad>", ["padding", "padding"]]]);
const tokenName = token => SPECIAL.get(token)?.[0] ?? token;
const quoted = token => SPECIAL.get(token)?.[1] ?? `“${token}”`;

// A vector as a strip of heat, upright or lying; of a gate, how far it is open.
function strip(scene, x, y, width, height, values, scale,
  {upright = true, opacity = 1, active = false, tip = "", open = false} = {}) {
  const {palette} = scene, color = open ? palette.weight : v => palette.signed(v / scale);
  scene.rect(x - 1.5, y - 1.5, width + 3, height + 3,
    {fill: palette.surface, stroke: active ? palette.accent : palette.line, line: active ? 2 : 1, radius: 3});
  scene.cells(x, y, width, height,
    upright ? heat(values.length, 1, values, color) : heat(1, values.length, values, color), opacity);
  if (tip) scene.spot(x, y, width, height, {tip});
}

// The place of a vector that is not known yet.
function ghost(scene, x, y, width, height) {
  scene.rect(x - 1.5, y - 1.5, width + 3, height + 3, {stroke: scene.palette.line, radius: 3, dash: "3 3"});
}

// The place of a state from before the first step, which was not recorded.
function unrecorded(scene, x, y, width, height) {
  ghost(scene, x, y, width, height);
  scene.spot(x, y, width, height, {tip: "what the first step starts from was not recorded"});
}

// A token, on a ground of its own, centred on x; `share` gives the ground the colour of a weight.
function chip(scene, x, y, text, room, {active = false, quiet = false, weight = 400} = {}) {
  const {palette} = scene, special = SPECIAL.has(text), size = special ? 11 : STEM;
  text = tokenName(text);
  const width = Math.min(room, Math.max(18, widthOf(text, size, weight) + 10));
  scene.rect(x - width / 2, y - 11, width, 22,
    {fill: active ? palette.accent : special ? "none" : palette.ghost, radius: 5, opacity: quiet ? 0.5 : 1,
    ...(special && !active ? {stroke: palette.line} : {})});
  scene.text(x, y, text, {size, weight, room: width - 4,
    fill: active ? palette.onAccent : quiet ? palette.faint : palette.ink});
  return width;
}

function box(scene, x, y, width, height, text, {active = false, quiet = false, size = 13} = {}) {
  const {palette} = scene;
  scene.rect(x, y, width, height,
    {fill: palette.surface, stroke: active ? palette.accent : palette.line, line: active ? 2 : 1.25,
      radius: Math.min(8, width / 4),
    dash: quiet ? "3 3" : ""});
  scene.text(x + width / 2, y + height / 2, text,
    {size, room: Math.max(width - 6, text.length > 1 ? 0 : 20), weight: 500, fill: quiet ? palette.faint : active
      ? palette.accent : palette.ink});
}

// A round sign: what is done with numbers where lines meet.
function sign(scene, x, y, text, {active = false, quiet = false, radius = 11} = {}) {
  const {palette} = scene;
  scene.rect(x - radius, y - radius, 2 * radius, 2 * radius,
    {fill: palette.surface, stroke: active ? palette.accent : quiet ? palette.line : palette.muted,
    line: active ? 2 : 1.25, radius});
  scene.text(x, y + 0.5, text, {size: text.length > 1 ? 10 : 14, weight: 600,
    fill: active ? palette.accent : quiet ? palette.faint : palette.ink});
}

// A heading; of several texts, the longest first, the first one that fits; on a ground where it covers lines.
function heading(scene, x, y, texts, {quiet = false, align = "left", room = Infinity, ground = false} = {}) {
  const all = [texts].flat(), text = all.find(one => widthOf(one, 12, 600) <= room) ?? all[all.length - 1];
  const wide = widthOf(text, 12, 600);
  if (ground) scene.rect(x - 3 - (align === "right" ? wide : 0), y - 9, wide + 6, 18, {fill: scene.palette.surface, radius: 4});
  scene.text(x, y, text, {size: 12, weight: 600, align, room, fill: quiet ? scene.palette.faint : scene.palette.muted});
}

// The stretch of a sequence that fits, around a place; [first, behind the last].
function stretch(count, room, place) {
  const shown = Math.max(1, Math.min(count, room));
  const first = Math.min(Math.max(0, place - Math.floor(shown * 0.6)), count - shown);
  return [first, first + shown];
}

// How far apart the steps of a sequence stand, so that their words can be read.
function pitchOf(labels, least, most) {
  const longest = labels.reduce((a, label) => Math.max(a, SPECIAL.has(label)
    ? widthOf(tokenName(label), 11) : widthOf(label, STEM)), 0);
  return Math.min(most, Math.max(least, longest + 16));
}

// How many steps lie to the left and right of a stretch.
function beyond(scene, first, stop, count, left, right, y) {
  const style = {size: 11, fill: scene.palette.muted};
  if (first > 0) scene.text(left, y, `‹ ${first}`, {...style, align: "left"});
  if (stop < count) scene.text(right, y, `${count - stop} ›`, {...style, align: "right"});
}

// The whole sequence, every unit at every step; leads to each step.
function timeline(scene, y, vectors, step, labels,
  {name, height = 72, scale = vectors.scale, frameOf = s => s, left = 12, tokens = true} = {}) {
  const {palette, width} = scene, across = width - left - 12, one = across / Math.max(1, vectors.steps);
  const narrow = width < 560;
  heading(scene, 12, y + 8, name, {room: width - (narrow ? 24 : 220)});
  legend(scene, narrow ? y + 20 : y + 4, scale, narrow ? 20 : width - 200, scale < vectors.scale);
  if (narrow) y += 18;
  const whole = kept(vectors, `timeline ${palette.mode} ${scale}`,
    () => heat(vectors.count, vectors.steps, vectors.across(), v => palette.signed(v / scale)));
  scene.cells(left, y + 22, across, height, whole, 0.28);
  const seen = Math.min(vectors.steps, step + 1);
  if (seen > 0) {
    scene.cells(left, y + 22, one * seen, height, cropped(whole, seen));
    scene.rect(left + one * step, y + 20, Math.max(2, one), height + 4, {stroke: palette.accent, line: 2, radius: 2});
  }
  for (let s = 0; s < vectors.steps && one >= 2; s++) scene.spot(left + one * s, y + 22, one, height,
    {frame: frameOf(s), tip: `${s + 1}: ${labels[s]}`});
  if (one < 2) scene.spot(left, y + 22, across, height,
    {frameAt: x => frameOf(Math.min(vectors.steps - 1, Math.floor(x / one)))});
  return tokens ? tokensBelow(scene, y + 22 + height, left, across, labels, step) : y + 22 + height + 12;
}

// The tokens below a timeline: all of them, or as many as fit; always that of the step.
function tokensBelow(scene, y, left, across, labels, step) {
  const {palette} = scene, one = across / Math.max(1, labels.length), most = 90;
  const wide = label => Math.min(most, widthOf(tokenName(label), 11)) + 2;
  const middle = s => Math.min(left + across - wide(labels[s]) / 2,
    Math.max(left + wide(labels[s]) / 2, left + one * (s + 0.5)));
  const write = (s, now) => scene.text(middle(s), y + 12, tokenName(labels[s]),
    {size: 11, room: most, weight: now ? 700 : 400, fill: now ? palette.accent : palette.muted});
  if (!labels.length) return y + 24;
  const shown = labels[step] === undefined ? -1 : step;
  const [from, to] = shown < 0 ? [0, 0]
    : [middle(shown) - wide(labels[shown]) / 2, middle(shown) + wide(labels[shown]) / 2];
  let end = -Infinity;
  labels.forEach((label, s) => {
    const x0 = middle(s) - wide(label) / 2, x1 = x0 + wide(label);
    if (s === shown || x0 < end || (shown >= 0 && x0 < to && x1 > from)) return;
    write(s, false);
    end = x1;
  });
  if (shown >= 0) write(shown, true);
  return y + 28;
}

// What the colours of vectors mean; `more` if there are numbers beyond the scale.
function legend(scene, y, scale, x = 12, more = false) {
  const {palette} = scene, width = 96, steps = 61;
  scene.cells(x + 44, y, width, 8,
    heat(1, steps, Array.from({length: steps}, (_, i) => 2 * i / (steps - 1) - 1), palette.signed));
  const style = {size: 11, fill: palette.muted};
  scene.text(x + 38, y + 4, (more ? "≤ " : "") + number(-scale), {...style, align: "right"});
  scene.text(x + 50 + width, y + 4, (more ? "≥ " : "") + number(scale), {...style, align: "left"});
  return y + 20;
}

// Legends with a name each, side by side, or one below the other: [name, scale, x].
function legends(scene, y, named) {
  const narrow = scene.width < 560;
  for (const [row, [name, scale, x]] of named.entries()) {
    const at = narrow ? 42 : Math.max(42, Math.min(x, scene.width - 200)), top = y + (narrow ? 18 * row : 0);
    scene.text(at - 8, top + 4, name, {size: 11, weight: 600, align: "right", fill: scene.palette.muted});
    legend(scene, top, scale, at);
  }
  return y + (narrow ? 18 * named.length + 2 : 20);
}

// A scale that a few large numbers do not set: where 98% of the absolute values lie below; at least 1.
function commonScale(vectors) {
  return kept(vectors, "common scale", () => {
    const sizes = vectors.across().map(Math.abs).filter(Number.isFinite).sort();
    return Math.max(1, sizes.length ? sizes[Math.floor(0.98 * (sizes.length - 1))] : 1);
  });
}

// Which units of a wide vector are shown.
const unitsNote = vectors => vectors.count < vectors.width
  ? `${vectors.count} of ${vectors.width} units, evenly spaced` : `${vectors.width} units`;

// The end of a text: so many letters, or as many as fit.
function ending(text, most = 80) {
  const letters = Array.from(text);
  return letters.length > most ? "…" + letters.slice(letters.length - most).join("") : text;
}

function tail(text, room, size = 15, weight = 500) {
  let shown = ending(text, 160);
  for (let most = 159; most > 0 && widthOf(shown, size, weight) > room; most--) shown = ending(text, most);
  return shown;
}
