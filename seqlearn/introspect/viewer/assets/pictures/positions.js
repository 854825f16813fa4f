// The map of position encodings: what is added to the embedding of each position.
// Source: Vaswani et al. 2017, section 3.5.
PICTURES.positions = {
  title: "Positions",
  choices: (example, picture) => picture.choices,
  chooses: "Module",
  frames: view => encodingsOf(view).steps,
  draw(scene, view, frame) {
    const vectors = encodingsOf(view),
      packed = view.example.extra.find(one => one.kind === "positions" && one.name === view.choice);
    if (!vectors.steps) return empty(scene);
    const {palette, width} = scene, tokens = tokensOf(view.example, packed.time, vectors.steps);
    const left = 84, one = Math.max(7, Math.min(20, 420 / vectors.steps)), across = width - left - 12, top = 48;
    heading(scene, 12, 14,
      ["One row for each position: it is added to the embedding of the token there", "One row for each position"],
      {room: width - 24});
    heading(scene, left, 34, unitsNote(vectors), {room: across});
    const rows = new Float32Array(vectors.steps * vectors.count);
    for (let s = 0; s < vectors.steps; s++) rows.set(vectors.step(s), s * vectors.count);
    scene.cells(left, top, across, one * vectors.steps, kept(vectors, `positions ${palette.mode}`,
      () => heat(vectors.steps, vectors.count, rows, v => palette.signed(v / vectors.scale))));
    const every = Math.ceil(13 / one);
    for (let s = 0; s < vectors.steps; s++) {
      const now = s === frame, y = top + one * (s + 0.5);
      const style = {size: 11, align: "right", weight: now ? 700 : 400, fill: now ? palette.accent : palette.muted};
      if (now || (s % every === 0 && Math.abs(s - frame) >= every)) {
        scene.text(left - 8, y, String(s), style);
        scene.text(left - 30, y, tokenName(tokens[s]), {...style, room: left - 34});
      }
      scene.spot(0, top + one * s, width, one, {frame: s, hover: true, tip: `position ${s}: ${tokens[s]}`});
    }
    scene.rect(left - 2, top + one * frame - 1, across + 4, one + 2, {stroke: palette.accent, line: 2, radius: 2});
    const bottom = likeness(scene, top + one * vectors.steps + 26, vectors, frame, left, across);
    scene.height = legend(scene, bottom + 6, vectors.scale) + 8;
    return `Position ${frame} of ${vectors.steps}, ${quoted(tokens[frame])}: left the units that change fast from `
      + "position to position, "
      + "right those that change slowly. Below, how alike this encoding is to that of every position: near ones are alike.";
  },
};

function encodingsOf({example, choice}) {
  return vectorsOf(example.extra.find(one => one.kind === "positions" && one.name === choice));
}

// The cosine of the encoding of one position with those of all, as bars.
function likeness(scene, y, vectors, frame, left, across) {
  const {palette} = scene, own = vectors.step(frame), one = across / vectors.steps, high = 48;
  heading(scene, 12, y, "alike");
  scene.path(`M${left} ${y + high}h${across}`, {stroke: palette.line});
  for (let s = 0; s < vectors.steps; s++) {
    const other = vectors.step(s), product = own.reduce((sum, v, i) => sum + v * other[i], 0);
    const cosine = product / (size(own) * size(other) || 1), tall = Math.max(0, cosine) * high;
    scene.rect(left + one * s + 0.5, y + high - tall, Math.max(1, one - 1), tall,
      {fill: s === frame ? palette.accent : palette.faint, radius: 1});
    scene.spot(left + one * s, y, one, high, {frame: s, tip: `position ${s}: cosine ${number(cosine)}`});
  }
  return y + high + 12;
}
