// Encoder and decoder with attention: the encoder reads, passes all of its states, and the decoder attends to them.
PICTURES.all_states = {
  title: "All states passed on",
  choices: () => [],
  frames: ({example, picture}) => named(example.states, picture.source).steps + 1 + named(example.states,
    picture.target).steps,
  // Opens at the first step of the decoder, which attends to all states.
  opens: ({example, picture}) => named(example.states, picture.source).steps + 1,
  draw(scene, {example, picture}, frame) {
    const module = named(example.attention, picture.attention), head = headOf(module, 0);
    const [encoder, decoder] = [picture.source, picture.target].map(name => vectorsOf(named(example.states, name)));
    if (!encoder.steps || !decoder.steps) return empty(scene);
    const sources = tokensOf(example, "source", encoder.steps), inputs = tokensOf(example, "target", decoder.steps);
    const outputs = tokensOf(example, "decoder_output", decoder.steps), {width} = scene;
    const passed = frame >= encoder.steps, step = frame - encoder.steps - 1, {directions} = picture;
    const weights = step >= 0 && step < module.rows ? head.row(step) : null;
    const heavy = weights ? head.greatest(step, 1)[0]?.[0] ?? 0 : Math.min(frame, encoder.steps - 1);
    heading(scene, 12, 14, directions ? "Encoder: reads the source from both ends"
      : "Encoder: reads the source, step by step",
      {room: width - 24});
    const first = encoderSteps(scene, 34, {directions, vectors: encoder, inputs: sources,
      step: Math.min(frame, encoder.steps - 1), focus: heavy, left: 8, right: width - 8, height: 52, frameOf: s => s,
        active: !passed});
    const now = {weights, heavy, passed, sending: frame === encoder.steps, encoder, sources, first,
      encoderSteps: encoder.steps};
    const y = memoryRow(scene, first.bottom + 46, now);
    const top = y + 96, second = unrolledSteps(scene, top,
      {vectors: decoder, inputs, outputs, step, seen: step + 1, left: 8,
      right: width - 8, height: 52, frameOf: s => encoder.steps + 1 + s, active: step >= 0});
    if (weights) attendToAll(scene, y, top, second.places[step], now);
    // On the side of the context that has more room.
    const x = weights ? second.places[step] : width, right = x < width / 2;
    heading(scene, right ? width - 12 : 12, y + 24,
      ["Decoder: reads its own output, attends to all states", "Decoder: attends to all states", "Decoder"],
      {quiet: !passed, align: right ? "right" : "left", room: (right ? width - x : x) - 24, ground: true});
    scene.height = legend(scene, second.bottom + 12, 1) + 8;
    const place = `Step ${frame + 1} of ${encoder.steps + 1 + decoder.steps}`;
    if (!passed) return `${place}: ${reads(sources, frame, directions)}.`;
    if (step < 0) return `${place}: the encoder passes all ${encoder.steps} states, not only the last one.`;
    const best = head.greatest(step, 2).map(([key, weight]) => `${quoted(sources[key])} ${share(weight)}`).join(", ");
    return `${place}: the decoder reads ${quoted(inputs[step])}, attends to ${best || "nothing"}, and predicts `
      + `${quoted(outputs[step])}. Written so far: ${ending(textOf(example, "target", step + 1))}`;
  },
};

// All states of the encoder, as they are passed on; each below its step.
function memoryRow(scene, y, {weights, heavy, passed, sending, encoder, sources, first, encoderSteps: count}) {
  const {palette} = scene, tall = 40, ink = {stroke: sending ? palette.accent : passed ? palette.muted : palette.line};
  const places = Object.entries(first.places).map(([key, x]) => [Number(key), x]);
  const [left, right] = [places[0][1] - 20, places[places.length - 1][1] + 20];
  scene.rect(left, y - 8, right - left, tall + 16,
    {stroke: ink.stroke, radius: 10, line: sending ? 2 : 1.25, dash: passed ? "" : "3 3"});
  heading(scene, 12, y - 20, passed ? "all states" : "all states, once the source is read", {quiet: !passed});
  for (const [key, x] of places) {
    if (sending) scene.arrow(x, first.bottom - 2, x, y - 12, ink);
    if (passed) strip(scene, x - 8, y, 16, tall, encoder.step(key), timeScale(encoder),
      {active: sending || (weights && key === heavy),
        tip: `state ${key + 1}, ${quoted(sources[key])}${weights ? `: ${share(weights[key])}` : ""}`});
    else ghost(scene, x - 8, y, 16, tall);
  }
  scene.spot(left, y - 8, right - left, 8, {frame: count, tip: "all states are passed on"});
  return y + tall + 8;
}

// Lines from every state to the context of one step, as thick as their weights; the context goes to the prediction.
function attendToAll(scene, from, to, x, {weights, encoder, first}) {
  const {palette} = scene, y = from + 34, context = weightedSum(encoder, weights);
  for (const [key, place] of Object.entries(first.places)) {
    const weight = weights[key];
    if (!(weight > 0.004)) continue;
    scene.path(`M${place} ${from - 6}C${place} ${y - 8} ${x} ${from + 6} ${x} ${y - 5}`,
      {stroke: palette.accent, line: 1 + 3 * weight, opacity: 0.15 + 0.85 * Math.sqrt(weight)});
  }
  strip(scene, x - 8, y, 16, 34, context, timeScale(encoder),
    {active: true, tip: `context: size ${sizeText(context, encoder)}`});
  heading(scene, x + (x > scene.width - 90 ? -14 : 14), y + 26, "context",
    {align: x > scene.width - 90 ? "right" : "left"});
  scene.arrow(x, y + 37, x, to - 11, {stroke: palette.accent});
}
