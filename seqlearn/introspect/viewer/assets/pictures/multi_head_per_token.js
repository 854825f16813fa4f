// All heads of one layer, token by token: the keys that each head attends to.
PICTURES.multi_head_per_token = {
  title: "Heads, step by step",
  choices: (example, picture) => picture.choices.map(choice => choice.name),
  chooses: "Layer",
  frames: view => chosen(view)[0].rows,
  draw(scene, view, frame) {
    const {palette, width} = scene, modules = chosen(view);
    if (!modules[0].rows) return empty(scene);
    const above = modules.filter(module => module.axes[1] !== module.axes[0]).slice(0, 1);
    const below = modules.filter(module => module !== above[0] && module.rows > frame);
    const queries = labelsOf(view.example, above[0] ?? below[0])[0], word = queries[frame];
    let y = 14;
    const middle = width / 2, descriptions = [];
    for (const module of above) y = headRows(scene, y, view, module, frame, {middle, up: true, descriptions});
    const ends = [];
    if (above.length) y += 56;
    chip(scene, middle, y, word, 160, {active: true, weight: 600});
    ends.push(y);
    y += 22;
    for (const [i, module] of below.entries()) {
      if (!i) y += 42;
      y = headRows(scene, y, view, module, frame, {middle, up: false, lines: !i, from: ends[0] + 12, descriptions});
    }
    if (view.example.decoder_output && modules[0].axes[0] === "target") {
      const written = textOf(view.example, "target", frame + 1);
      heading(scene, 12, y + 16, "written so far");
      const narrow = width < 560;
      scene.text(narrow ? 12 : 112, y + (narrow ? 38 : 16), tail(written, width - (narrow ? 24 : 130)),
        {size: 15, weight: 500, align: "left"});
      y += narrow ? 58 : 36;
    }
    scene.height = y + 8;
    const unit = capitalizedUnit(view.example, modules[0].axes[0]);
    return `${unit} ${frame + 1} of ${modules[0].rows}, ${quoted(word)}. ${descriptions.join(" ")}`;
  },
};

const chosen = ({example, picture,
  choice}) => picture.choices.find(one => one.name === choice).attention.map(name => named(example.attention, name));

function attendsTo(example, {axes: [from, to]}) {
  if (to === "source") return from === "source" ? "The source attends to itself" : "Attends to the source";
  return to === "target" ? `Attends to the ${unitOf(example, "target")}s before` : "Attends to its keys";
}

// A row for each head, a column for each key; lines from the keys to the word.
function headRows(scene, y, {example, labelOf}, module, row, {middle, up, lines = true, from, descriptions}) {
  const {palette, width} = scene, keys = labelsOf(example, module)[1], count = module.heads.length;
  const attends = attendsTo(example, module);
  const heads = module.heads.map((_, i) => headOf(module, i)), rows = heads.map(head => head.row(row));
  const left = 72, pitch = pitchOf(keys, 24, 76), room = Math.floor((width - left - 36) / pitch);
  const together = keys.map((_, key) => rows.reduce((sum, weights) => sum + (weights[key] || 0), 0));
  const order = keys.map((_, key) => key).sort((a, b) => together[b] - together[a]),
    [first, stop] = keys.length ? stretch(keys.length, room, order[0]) : [0, 0];
  // Of far more keys than fit, those with the largest weights.
  const far = keys.length > 3 * room,
    listed = far ? order.slice(0, room).sort((a, b) => a - b) : keys.map((_, key) => key).slice(first, stop);
  const start = left + (width - left - 36 - pitch * listed.length) / 2, high = count > 8 ? 12 : 18;
  const tokens = up ? y + 28 + count * high : y + 10, grid = up ? y + 16 : y + 28;
  heading(scene, 12, up ? y : grid + count * high + 16,
    [`${attends} (${labelOf(module.name)})`, attends, attends.replace("Attends to the", "To the")],
    {room: width - 130});
  for (const [place, key] of listed.entries()) {
    const x = start + place * pitch,
      later = module.axes[0] === module.axes[1] && module.axes[0] === "target" && key > row;
    chip(scene, x + pitch / 2, tokens, keys[key], pitch - 4, {quiet: later, active: false});
    if (far && place && key > listed[place - 1] + 1) scene.path(`M${x} ${tokens - 8}v16`,
      {stroke: palette.line, dash: "2 3"});
    rows.forEach((weights, i) => {
      const weight = weights[key], top = grid + i * high;
      scene.rect(x + 1.5, top + 1.5, pitch - 3, high - 3,
        {fill: css(palette.headWeight(i)(Math.sqrt(weight))), radius: 3, opacity: later ? 0.35 : 1});
      scene.spot(x, top, pitch, high, {tip: `head ${i + 1}, ${quoted(keys[key])}: ${share(weight)}`});
      if (!lines || !(weight >= 0.03)) return;
      const shift = (i - (count - 1) / 2) * Math.min(3, 14 / count), end = up ? tokens + 12 : tokens - 12,
        begin = up ? tokens + 12 + 44 - 12 : from;
      const [x0, x1] = [middle + shift, x + pitch / 2 + shift], y0 = up ? tokens + 67 - 12 : begin;
      const style = {stroke: palette.head(i), line: 0.75 + 2 * weight, opacity: 0.08 + 0.72 * weight};
      scene.path(`M${x0} ${y0}C${x0} ${(end + begin) / 2} ${x1} ${(end + begin) / 2} ${x1} ${end}`, style);
    });
  }
  rows.forEach((_, i) => {
    scene.text(start - 18, grid + i * high + high / 2, `head ${i + 1}`,
      {size: 11, align: "right", fill: palette.muted});
    scene.rect(start - 14, grid + i * high + high / 2 - 4, 8, 8, {fill: palette.head(i), radius: 2});
  });
  if (far) heading(scene, width - 12, up ? y : grid + count * high + 16, `${listed.length} of ${keys.length} keys`,
    {align: "right"});
  else beyond(scene, first, stop, keys.length, 8, width - 4, tokens);
  const best = rows.map((_, i) => [i, heads[i].greatest(row, 1)[0]]).filter(([, found]) => found);
  const listedHeads = best.map(([i, [key, weight]]) => `head ${i + 1} to ${quoted(keys[key])} ${share(weight)}`);
  descriptions.push(`${attends}: ${listedHeads.join(", ") || "no visible key"}.`);
  return up ? tokens + 11 : grid + count * high + 36;
}
