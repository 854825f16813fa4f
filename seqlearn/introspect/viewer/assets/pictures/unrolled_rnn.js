// A recurrent layer unrolled in time: each step reads a token and the previous state.
PICTURES.unrolled_rnn = {
  title: "Unrolled in time",
  choices: (example, picture) => picture.choices,
  chooses: "Layer",
  frames: view => named(view.example.states, view.choice).steps,
  opens: "last",
  draw(scene, view, frame) {
    const {example} = view, packed = named(example.states, view.choice), vectors = vectorsOf(packed);
    const inputs = tokensOf(example, packed.time, vectors.steps);
    const outputs = packed.time === "target" && example.decoder_output
      ? tokensOf(example, "decoder_output", vectors.steps) : null;
    if (!vectors.steps) return empty(scene);
    // A backward layer is played from the end of the text.
    const backwards = view.choice.endsWith(".backward_layer");
    const step = backwards ? vectors.steps - 1 - frame : frame;
    const joins = view.picture.joined?.includes(view.choice);
    if (joins) return unrolledBoth(scene, vectors, inputs, frame);
    heading(scene, 12, 14, backwards
      ? ["The same cell A at every step, from the end to the beginning", "The same cell A, from the end"]
      : ["The same cell A at every step passes its state to the next", "The same cell A at every step"],
        {room: scene.width - 24});
    const drawn = backwards
      ? unrolledBackward(scene, 40, vectors, inputs, step)
      : unrolledSteps(scene, 40, {vectors, inputs, outputs, step, seen: step + 1, left: 8, right: scene.width - 8,
        frameOf: s => s});
    const y = timeline(scene, drawn.bottom + 12, vectors, backwards ? vectors.steps - 1 : step, inputs,
      {name: [`Every state, ${unitsNote(vectors)}`, "Every state"], scale: timeScale(vectors),
      frameOf: s => backwards ? vectors.steps - 1 - s : s});
    scene.height = y;
    const now = vectors.step(step),
      before = frame > 0 ? vectors.step(backwards ? step + 1 : step - 1)
        : startsAtZero(example, packed) ? now.map(() => 0) : null;
    const predicted = outputs ? `, predicts ${quoted(outputs[step])}` : "";
    const change = before && sizeText(now.map((v, i) => v - before[i]), vectors);
    const moved = `The state has size ${sizeText(now, vectors)}${before ? ` and changed by ${change}` : ""}`;
    return `Step ${frame + 1} of ${vectors.steps}: reads ${quoted(inputs[step])}${predicted}. ${moved}.`;
  },
};

// A layer of two directions.
function unrolledBoth(scene, vectors, inputs, frame) {
  heading(scene, 12, 14,
    ["One cell reads from the beginning, another one from the end; the states at a place are joined",
    "Two cells read from both ends"], {room: scene.width - 24});
  const drawn = bothDirections(scene, 40,
    {vectors, inputs, step: frame, left: 8, right: scene.width - 8, frameOf: s => s});
  scene.height = timeline(scene, drawn.bottom + 12, vectors, frame, inputs,
    {name: [`Both states at every place, ${unitsNote(vectors)}`, "Both states at every place"],
      scale: timeScale(vectors)});
  const back = inputs[inputs.length - 1 - frame];
  return `Step ${frame + 1} of ${vectors.steps}: forwards reads ${quoted(inputs[frame])}, backwards ${quoted(back)}. `
    + "A state of both is complete where both have passed.";
}

// The same with time running from right to left.
function unrolledBackward(scene, y, vectors, inputs, step) {
  const {steps, scale, count, width} = vectors, last = steps - 1;
  const reversed = {steps, scale, count, width, step: s => vectors.step(last - s)};
  const at = vectors.steps - 1 - step, mirror = new Scene(scene.width, scene.palette);
  const drawn = unrolledSteps(mirror, y,
    {vectors: reversed, inputs: [...inputs].reverse(), outputs: null, step: at, seen: at + 1, left: 8,
    right: scene.width - 8, frameOf: s => s});
  scene.shapes.push(...mirror.shapes);
  scene.spots.push(...mirror.spots);
  return drawn;
}
