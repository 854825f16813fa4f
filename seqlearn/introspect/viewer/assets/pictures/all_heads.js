// One head, to look around in: lines from token to token, the whole map, and all heads small.
// So many rows stand side by side; of more keys than these the greatest are listed.
const LINES = 28, LIST = 14;

PICTURES.all_heads = {
  title: "All heads",
  choices: example => example.attention.map(module => module.name),
  chooses: "Module",
  heads: view => named(view.example.attention, view.choice).heads.length,
  frames: view => named(view.example.attention, view.choice).rows,
  thumbnails,
  draw(scene, view, frame) {
    const module = named(view.example.attention, view.choice), head = headOf(module, view.head);
    if (!module.rows || !module.columns) return empty(scene);
    const [queries, keys] = labelsOf(view.example, module), wide = scene.width >= 700;
    const side = wide ? Math.min(440, scene.width * 0.46) : Math.min(460, scene.width - 24);
    const left = wide ? scene.width - side - 36 : scene.width;
    const color = scene.palette.head(view.head), shade = scene.palette.headWeight(view.head);
    const below = lines(scene, 14, left, {module, head, queries, keys, color}, frame);
    const place = wide ? [scene.width - side - 12, 30] : [12, below + 32];
    heading(scene, place[0], place[1] - 16, `The whole map: ${module.rows} by ${module.columns}`);
    const end = map(scene, place[0], place[1], side, {head, queries, keys, color, shade}, frame);
    scene.height = Math.max(below, weightLegend(scene, end + 10, head.highest, place[0] + 14, Math.sqrt, shade)) + 8;
    const found = head.greatest(frame, 5).map(([key, weight]) => `${quoted(keys[key])} ${share(weight)}`);
    const others = `The ${head.kept} largest of each row are kept; the others of this row sum to`;
    const rest = head.sparse ? ` ${others} ${share(head.rests[frame])}.` : "";
    return `Row ${frame + 1} of ${module.rows}: ${quoted(queries[frame])} attends to ${found.join(", ") || "nothing"}.${rest}`;
  },
};

// Queries on the left, keys on the right; of many keys those with the greatest weights.
function lines(scene, y, width, {module, head, queries, keys, color}, row) {
  const {palette} = scene, high = 23, top = y + 30, xQuery = width * 0.36, xKey = width * 0.6;
  const names = {source: "source", target: "target", pooled: "pooled"};
  heading(scene, xQuery, y, names[module.axes[0]] ?? "queries", {align: "right"});
  heading(scene, xKey, y, names[module.axes[1]] ?? "keys");
  const [first, stop] = stretch(module.rows, LINES, row), all = module.columns <= LINES;
  const weights = head.row(row), listed = all ? keys.map((_, key) => key)
    : head.greatest(row, LIST).map(([key]) => key).sort((a, b) => a - b);
  const extent = Math.max(stop - first, listed.length + (all ? 0 : listed.length + 1)) * high;
  const step = extent / Math.max(1, stop - first) > 1.4 * high ? high * 1.4 : high,
    spread = extent / Math.max(1, listed.length);
  const from = query => top + (extent - step * (stop - first)) / 2 + (query - first + 0.5) * step;
  const at = i => top + (i + 0.5) * (all ? Math.min(spread, high * 1.4) : spread) + (all
    ? Math.max(0, extent - listed.length * high * 1.4) / 2 : 0);
  const draw = (query, i, weight, strong) => {
    const [x0, x1, y0, y1] = [xQuery + 8, xKey - 34, from(query), at(i)], middle = (xQuery + xKey) / 2;
    const line = strong ? 1 + 3 * weight : 1, opacity = strong ? 0.1 + 0.9 * Math.sqrt(weight) : 0.4 * weight;
    const style = {stroke: strong ? color : palette.faint, line, opacity};
    scene.path(`M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`, style);
  };
  for (let query = first; all && query < stop; query++) {
    if (query === row) continue;
    for (const [key, weight] of head.greatest(query, 3)) if (weight > 0.1) draw(query, key, weight, false);
  }
  listed.forEach((key, i) => { if (weights[key] > 0.004) draw(row, i, weights[key], true); });
  for (let query = first; query < stop; query++) {
    const now = query === row, room = xQuery - 26;
    if (now) scene.rect(xQuery - Math.min(room, widthOf(tokenName(queries[query]), STEM, 600)) - 8, from(query) - 11,
      Math.min(room, widthOf(tokenName(queries[query]), STEM, 600)) + 14, 22, {fill: palette.accent, radius: 5});
    scene.text(xQuery, from(query), tokenName(queries[query]),
      {align: "right", weight: now ? 600 : 400, fill: now ? palette.onAccent : palette.ink, room});
    scene.spot(0, from(query) - step / 2, xQuery + 20, step, {frame: query, hover: true, tip: `row ${query + 1}`});
  }
  listed.forEach((key, i) => {
    const weight = weights[key], strong = weight > 0.1 * head.tops[row];
    const bar = 26 * Math.min(1, weight / (head.highest || 1) || 0);
    scene.rect(xKey - 32, at(i) - 7, 26, 14, {fill: palette.ghost, radius: 3});
    if (weight > 0) scene.rect(xKey - 6 - bar, at(i) - 7, bar, 14, {fill: color, radius: 3});
    scene.text(xKey, at(i), tokenName(keys[key]),
      {align: "left", weight: strong ? 600 : 400, fill: strong ? palette.ink : palette.muted, room: width - xKey - 60});
    if (weight >= 0.0005) scene.text(width - 8, at(i), share(weight),
      {size: 12, align: "right", fill: strong ? palette.ink : palette.muted});
    if (!all && key > (i ? listed[i - 1] + 1 : 0)) scene.text(xKey, at(i) - spread / 2,
      `… ${key - (i ? listed[i - 1] + 1 : 0)} between`, {size: 11, align: "left", fill: palette.faint});
  });
  if (first > 0) scene.text(xQuery, top - 6, `‹ ${first} above`, {size: 11, align: "right", fill: palette.muted});
  if (stop < module.rows) scene.text(xQuery, top + extent + 8, `${module.rows - stop} below ›`,
    {size: 11, align: "right", fill: palette.muted});
  return top + extent + 20;
}

// The map at the resolution of the screen, with the selected row.
function map(scene, x, y, side, {head, queries, keys, color, shade}, row) {
  const {palette} = scene, square = Math.min(24, side / Math.max(head.columns, head.rows));
  const width = Math.max(60, square * head.columns), height = Math.max(24, square * head.rows);
  const sharp = Math.ceil(side * (window.devicePixelRatio || 1));
  const across = Math.min(head.columns, sharp), down = Math.min(head.rows, sharp);
  const drawn = kept(head, `map ${palette.mode} ${across} ${down}`,
    () => heat(down, across, head.pixels(across, down), shade));
  scene.cells(x, y, width, height, drawn);
  scene.rect(x, y, width, height, {stroke: palette.line});
  const one = height / head.rows;
  scene.rect(x - 2, y + one * row - 1, width + 4, Math.max(2, one) + 2, {stroke: color, line: 1.5, radius: 2});
  const placed = (dx, dy) => [Math.min(head.rows - 1, Math.floor(dy / one)),
    Math.min(head.columns - 1, Math.floor(dx / width * head.columns))];
  scene.spot(x, y, width, height, {
    frameAt: (dx, dy) => placed(dx, dy)[0],
    tipAt: (dx, dy) => {
      const [query, key] = placed(dx, dy), weight = head.row(query)[key];
      return `${queries[query]} → ${keys[key]}: ${weight > 0 || !head.sparse ? share(weight) : "small"}`;
    },
  });
  return y + height;
}

// All heads of all modules as small maps: buttons, drawn a few at a time.
function thumbnails(view, palette, pick) {
  const waiting = [];
  const some = () => {
    const until = performance.now() + 8;
    while (waiting.length && performance.now() < until) waiting.shift()();
    if (waiting.length) requestAnimationFrame(some);
  };
  requestAnimationFrame(some);
  return view.example.attention.map(module => {
    const row = element("div", {className: "row"},
      element("p", {className: "name", textContent: view.labelOf(module.name),
      title: module.name}));
    module.heads.forEach((_, number) => {
      const canvas = element("canvas", {width: 1, height: 1}),
        button = element("button", {type: "button", className: "thumbnail"}, canvas);
      button.setAttribute("aria-label", `${view.labelOf(module.name)}, head ${number + 1}`);
      button.title = `head ${number + 1}`;
      button.dataset.module = module.name;
      button.dataset.head = number;
      button.addEventListener("click", () => pick(module.name, number));
      waiting.push(() => {
        if (!module.rows || !module.columns) return;
        const head = headOf(module, number), across = Math.min(64, module.columns), down = Math.min(64, module.rows);
        const small = heat(down, across, head.pixels(across, down), palette.headWeight(number));
        canvas.width = across;
        canvas.height = down;
        canvas.getContext("2d").drawImage(small, 0, 0);
      });
      row.append(button);
    });
    return row;
  });
}
