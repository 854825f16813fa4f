// The viewer itself: what is shown, its controls, playback, export.
const PACE = 700;
const PLAY = "▶\uFE0E";
const HINT = "Space plays and pauses, ← and → step, Home and End jump. Point at or touch the picture to look closer.";

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function button(label, text, act, className = "") {
  const made = element("button", {type: "button", textContent: text, className});
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", act);
  return made;
}

function chooser(label, act) {
  const select = element("select");
  select.addEventListener("change", () => act(select.value));
  const made = element("label", {className: "choice"}, element("span", {textContent: label}), select);
  made.offer = (options, value) => {
    made.hidden = options.length < 2;
    select.replaceChildren(...options.map(([key, text]) => element("option", {value: key, textContent: text})));
    select.value = value;
  };
  return made;
}

function mount(host) {
  const {title, examples} = JSON.parse(host.querySelector("script[type='application/json']").textContent);
  const shadow = host.attachShadow({mode: "open"});
  const view = {number: 0, example: examples[0], picture: null, choice: null, head: 0};
  let frame = 0, timer = 0, scene = null, palette = paletteOf(modeOf(host)), caption = "", waiting = false;

  const canvas = element("canvas"), context = canvas.getContext("2d");
  canvas.setAttribute("role", "img");
  const tip = element("div", {className: "tip", hidden: true});
  const stage = element("div", {className: "stage"}, canvas, tip);
  const words = element("p", {className: "caption", id: "caption"});
  words.setAttribute("aria-live", "polite");
  canvas.setAttribute("aria-describedby", "caption");
  const pictures = element("div", {className: "pictures"});
  pictures.setAttribute("role", "group");
  pictures.setAttribute("aria-label", "Picture");
  const exampleChoice = chooser("Example", value => show({number: Number(value)}));
  const choiceChoice = chooser("Layer", value => show({choice: value}));
  const headChoice = chooser("Head", value => show({head: Number(value)}));
  const scrub = element("input", {type: "range", min: 0, step: 1});
  scrub.setAttribute("aria-label", "Step");
  scrub.addEventListener("input", () => { pause(); go(Number(scrub.value)); });
  const count = element("output", {className: "count"});
  const play = button("Play", PLAY, () => timer ? pause() : start(), "play");
  const player = element("div", {className: "player"},
    button("First step", "⇤", () => { pause(); go(0); }), button("Step back", "←", () => { pause(); go(frame - 1); }), play,
    button("Step forward", "→", () => { pause(); go(frame + 1); }), button("Last step", "⇥", () => { pause(); go(frames() - 1); }), scrub, count);
  player.setAttribute("role", "group");
  player.setAttribute("aria-label", "Playback");
  const small = element("div", {className: "thumbnails"});
  small.setAttribute("role", "group");
  small.setAttribute("aria-label", "All heads");
  const root = element("section", {className: "sqv"},
    element("div", {className: "top"}, element("p", {className: "title", textContent: title}), pictures),
    element("div", {className: "choices"}, exampleChoice, choiceChoice, headChoice),
    stage, words, player, small,
    element("div", {className: "bottom"}, element("p", {className: "hint", textContent: HINT}),
      element("div", {className: "export"}, button("Save this picture as SVG", "SVG", () => save("svg")), button("Save this picture as PNG", "PNG", () => save("png")))));
  root.setAttribute("aria-label", title);
  shadow.append(element("style", {textContent: STYLE}), root);

  const kind = () => PICTURES[view.picture.kind];
  const frames = () => Math.max(1, kind().frames(view));

  // Change what is shown: the example, the picture, the layer or the head.
  function show(change) {
    const samePicture = !("number" in change) && !("picture" in change);
    if ("number" in change) {
      view.number = change.number;
      view.example = examples[change.number];
      const now = view.picture?.kind;
      view.picture = view.example.pictures.find(one => one.kind === now) ?? view.example.pictures[0];
    }
    if ("picture" in change) view.picture = change.picture;
    if (!view.picture) return nothing();
    const choices = kind().choices(view.example, view.picture);
    view.choice = "choice" in change ? change.choice : choices.includes(view.choice) && samePicture ? view.choice : view.picture.opens ?? choices[0];
    const heads = kind().heads?.(view) ?? 0;
    view.head = Math.min(Math.max(0, heads - 1), change.head ?? view.head);
    pictures.replaceChildren(...view.example.pictures.map(picture => {
      const made = element("button", {type: "button", textContent: titleOf(picture)});
      made.dataset.kind = picture.kind;
      made.setAttribute("aria-pressed", String(picture === view.picture));
      made.addEventListener("click", () => { show({picture}); pressed()?.focus(); });
      return made;
    }));
    exampleChoice.offer(examples.map((example, i) => [i, `${i + 1}: ${excerpt(example)}`]), view.number);
    choiceChoice.firstChild.textContent = kind().chooses ?? "Layer";
    choiceChoice.offer(choices.map(name => [name, name]), view.choice);
    headChoice.offer(Array.from({length: heads}, (_, i) => [i, String(i)]), view.head);
    if (!samePicture || frame >= frames()) {
      pause();
      frame = kind().opens === "last" ? frames() - 1 : Math.min(frames() - 1, kind().opens ?? 0);
    }
    scrub.max = frames() - 1;
    small.hidden = view.picture.kind !== "all_heads";
    if (!small.hidden && !samePicture) fill();
    mark();
    draw();
  }

  const pressed = () => pictures.querySelector("[aria-pressed=true]");
  const titleOf = picture => {
    const same = view.example.pictures.filter(one => one.kind === picture.kind);
    return PICTURES[picture.kind].title + (same.length > 1 ? ` ${same.indexOf(picture) + 1}` : "");
  };
  const excerpt = example => {
    const text = joined(example.source ?? example.decoder_output ?? example.decoder_input ?? []);
    return Array.from(text).length > 40 ? Array.from(text).slice(0, 39).join("") + "…" : text;
  };

  function fill() {
    small.replaceChildren(...thumbnails(view, palette, (choice, head) => show({choice, head})));
  }

  function mark() {
    for (const one of small.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.module === view.choice && Number(one.dataset.head) === view.head));
  }

  function nothing() {
    words.textContent = "This recording holds nothing that can be drawn.";
    for (const part of [pictures, stage, player, small]) part.hidden = true;
  }

  function go(to) {
    const next = Math.min(frames() - 1, Math.max(0, to));
    if (next === frame) return;
    frame = next;
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  }

  function draw() {
    waiting = false;
    const width = stage.clientWidth;
    if (!width || !view.picture) return;
    scene = new Scene(width, palette);
    caption = kind().draw(scene, view, frame);
    // A second figure for each pixel of the screen, as sharp as it is.
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(scene.height * scale);
    canvas.style.height = `${scene.height}px`;
    scene.paint(context, scale);
    canvas.setAttribute("aria-label", `${titleOf(view.picture)}${view.choice ? `, ${view.choice}` : ""}`);
    words.setAttribute("aria-live", timer ? "off" : "polite");
    words.textContent = caption;
    scrub.value = frame;
    scrub.setAttribute("aria-valuetext", `${frame + 1} of ${frames()}`);
    count.textContent = `${frame + 1} / ${frames()}`;
    root.dataset.mode = palette.mode;
    root.dataset.drawn ??= performance.now().toFixed(0);
  }

  function start() {
    if (frame >= frames() - 1) go(0);
    timer = setInterval(() => frame >= frames() - 1 ? pause() : go(frame + 1), PACE);
    told("Pause", "❚❚");
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    words.setAttribute("aria-live", "polite");
    told("Play", PLAY);
  }

  function told(label, text) {
    play.textContent = text;
    play.title = label;
    play.setAttribute("aria-label", label);
  }

  async function save(type) {
    const named = `seqlearn-${view.picture.kind}-${frame + 1}.${type}`, about = `${title}: ${caption}`;
    let blob = new Blob([scene.svg(about)], {type: "image/svg+xml"});
    if (type === "png") {
      const large = element("canvas", {width: scene.width * 2, height: scene.height * 2});
      scene.paint(large.getContext("2d"), 2);
      blob = await new Promise(done => large.toBlob(done, "image/png"));
    }
    const link = element("a", {href: URL.createObjectURL(blob), download: named});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function spotUnder(event) {
    const place = canvas.getBoundingClientRect(), x = event.clientX - place.left, y = event.clientY - place.top;
    const spot = scene?.spotAt(x, y);
    return spot ? {spot, x, y, dx: x - spot.x, dy: y - spot.y} : null;
  }

  function lookedAt(event) {
    const found = spotUnder(event);
    const said = found && (found.spot.tipAt?.(found.dx, found.dy) ?? found.spot.tip);
    tip.hidden = !said;
    canvas.style.cursor = found && ("frame" in found.spot || found.spot.frameAt) ? "pointer" : "default";
    if (said) {
      tip.textContent = said;
      tip.style.left = `${Math.max(4, Math.min(found.x + 12, stage.clientWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${Math.max(4, found.y - tip.offsetHeight - 10)}px`;
    }
    if (found?.spot.hover && event.pointerType === "mouse") { pause(); go(found.spot.frame); }
  }

  canvas.addEventListener("pointermove", lookedAt);
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("pointerdown", lookedAt);
  canvas.addEventListener("click", event => {
    const found = spotUnder(event);
    const to = found && (found.spot.frameAt?.(found.dx, found.dy) ?? found.spot.frame);
    if (to !== undefined && to !== null) { pause(); go(to); }
  });
  root.addEventListener("keydown", event => {
    const {target, key} = event, control = target.tagName;
    if (event.ctrlKey || event.altKey || event.metaKey || control === "SELECT" || !view.picture) return;
    const own = control === "INPUT", act = {
      " ": control === "BUTTON" ? null : () => timer ? pause() : start(),
      ArrowLeft: own ? null : () => { pause(); go(frame - 1); },
      ArrowRight: own ? null : () => { pause(); go(frame + 1); },
      Home: own ? null : () => { pause(); go(0); },
      End: own ? null : () => { pause(); go(frames() - 1); },
    }[key];
    if (act) { event.preventDefault(); act(); }
  });
  stage.tabIndex = 0;
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Picture; arrow keys step");

  function recolor() {
    const mode = modeOf(host);
    if (mode === palette.mode && root.dataset.mode) return;
    palette = paletteOf(mode);
    if (!small.hidden) { fill(); mark(); }
    draw();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  const around = host.closest("[data-md-color-scheme]");
  if (around) new MutationObserver(recolor).observe(around, {attributes: true, attributeFilter: ["data-md-color-scheme"]});
  root.dataset.mode = palette.mode;
  let width = 0;
  new ResizeObserver(() => { if (stage.clientWidth !== width) { width = stage.clientWidth; draw(); } }).observe(stage);
  show({number: 0});
}

for (const host of document.querySelectorAll(".seqlearn-viewer")) if (!host.shadowRoot) mount(host);
