// The novelty scores of a module over time, with the current step marked.
PICTURES.novelty = {
  title: "Novelty",
  choices: (example, picture) => picture.choices,
  chooses: "Module",
  frames: view => scoresOf(view).steps,
  opens: "last",
  draw(scene, view, frame) {
    const scores = scoresOf(view), tokens = tokensOf(view.example, "target", scores.steps);
    scene.height = timeline(scene, 8, scores, frame, tokens, {name: `Novelty, ${unitsNote(scores)}`}) + 8;
    return `Step ${frame + 1} of ${scores.steps}, ${quoted(tokens[frame])}: ${number(scores.step(frame)[0])}.`;
  },
};

function scoresOf(view) {
  return vectorsOf(view.example.extra.find(one => one.kind === "novelty" && one.name === view.choice));
}
