// Encoder and decoder, and the context vector between them: all that the decoder knows of the source.
PICTURES.context_vector = {
  title: "One context vector",
  choices: () => [],
  frames: ({example, picture}) => named(example.states, picture.source).steps + 1 + named(example.states,
    picture.target).steps,
  opens: "last",
  draw(scene, {example, picture}, frame) {
    const {palette, width} = scene;
    const [encoder, vector, decoder] = [picture.source, picture.vector,
      picture.target].map(name => vectorsOf(named(example.states, name)));
    const sourceTokens = tokensOf(example, "source", encoder.steps);
    const inputTokens = tokensOf(example, "target", decoder.steps);
    const outputTokens = tokensOf(example, "decoder_output", decoder.steps);
    const passed = frame >= encoder.steps, decoderStep = frame - encoder.steps - 1;
    const written = textOf(example, "target", Math.max(0, decoderStep + 1)), {directions} = picture;
    heading(scene, 12, 14, directions ? "Encoder: reads the source from both ends"
      : "Encoder: reads the source, step by step",
      {room: width - 24});
    const step = Math.min(frame, encoder.steps - 1);
    const first = encoderSteps(scene, 34, {directions, vectors: encoder, inputs: sourceTokens, step, left: 8,
      right: width - 8, height: 64, frameOf: s => s, active: !passed});
    const x = Math.max(16, width / 2 - 160), long = Math.min(320, width - 32), y = first.bottom + 48;
    const ink = {stroke: passed ? palette.accent : palette.line, line: passed ? 2 : 1.25};
    const last = first.places[Math.min(first.stop, encoder.steps) - 1] ?? width / 2;
    const low = first.bottom + 12, side = first.box + 17, middle = x + long / 2;
    // The last state; a dashed line passes over tokens that are not shown.
    scene.path(aroundTheEdge([last + 16, side], [width - 4, low], [middle, y - 6]),
      {...ink, dash: first.stop < encoder.steps ? "2 4" : ""});
    // The last state of the backward cells is that of the first token.
    if (directions) scene.path(aroundTheEdge([first.places[first.first] - 4, first.back], [4, low], [middle, y - 6]),
      {...ink, dash: first.first ? "2 4" : ""});
    heading(scene, x + long / 2 - 20, y - 14, "context", {align: "right", quiet: !passed});
    if (passed) strip(scene, x, y, long, 18, vector.step(0), timeScale(vector),
      {upright: false, active: frame === encoder.steps, tip: "the context vector"});
    else ghost(scene, x, y, long, 18);
    scene.spot(x, y, long, 18, {frame: encoder.steps, tip: "the context vector"});
    heading(scene, 18, y + 62, picture.attends
      ? ["Decoder: starts from the context; its attention to the source is not drawn here",
        "Decoder: its attention is not drawn here"]
      : ["Decoder: starts from the context, reads its own output", "Decoder: starts from the context"],
      {quiet: !passed, room: width - 24});
    const second = unrolledSteps(scene, y + 84,
      {vectors: decoder, inputs: inputTokens, outputs: outputTokens, step: decoderStep, seen: decoderStep + 1,
       left: 8, right: width - 8, height: 64,
      frameOf: s => encoder.steps + 1 + s, active: decoderStep >= 0});
    const entry = second.places[second.first];
    const turn = `v4Q${middle} ${y + 40} ${middle - 12} ${y + 40}H18Q6 ${y + 40} 6 ${y + 52}`;
    const into = `V${second.box + 2}Q6 ${second.box + 17} 16 ${second.box + 17}H${entry - 18}`;
    scene.path(`M${middle} ${y + 24}${turn}${into}`, {...ink, dash: second.first ? "2 4" : ""});
    scene.height = legend(scene, second.bottom + 14, 1) + 8;
    const place = `Step ${frame + 1} of ${encoder.steps + 1 + decoder.steps}`;
    if (!passed) return `${place}: ${reads(sourceTokens, frame, directions)}.`;
    if (decoderStep < 0) {
      const norm = sizeText(vector.step(0), vector);
      const whole = picture.attends ? "the decoder starts from" : "the whole source is now";
      return `${place}: ${whole} one vector of ${vector.width} numbers, of size ${norm}.`
        + (picture.attends ? " It also attends to all states; the other pictures show that." : "");
    }
    const predicted = `the decoder reads ${quoted(inputTokens[decoderStep])} and predicts ${quoted(outputTokens[decoderStep])}`;
    return `${place}: ${predicted}. Written so far: ${ending(written)}`;
  },
};

// A line from a state to an edge of the picture, down along it, and back to the middle.
function aroundTheEdge([x, y], [edge, low], [middle, end]) {
  const turn = edge > x ? -8 : 8, back = edge > x ? 20 : -20;
  return `M${x} ${y}H${edge + turn}Q${edge} ${y} ${edge} ${y + 8}V${low - 8}Q${edge} ${low} ${edge + turn} ${low}`
    + `H${middle + back}Q${middle} ${low} ${middle} ${end}`;
}
