// The viewer: what is shown, its controls, playback and export.
const PACE = 700, SPEEDS = [0.5, 1, 2, 4];
const PLAY = "▶\uFE0E";
const HINT = "Space plays and pauses, ← and → step, Home and End jump. Point at or touch the picture for details.";

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

function group(className, label, ...children) {
  const made = element("div", {className}, ...children);
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

function chooser(label, act) {
  const select = element("select");
  select.addEventListener("change", () => act(select.value));
  const made = element("label", {className: "choice"}, element("span", {textContent: label}), select);
  select.setAttribute("aria-label", label);
  made.rename = text => {
    made.firstChild.textContent = text;
    select.setAttribute("aria-label", text);
  };
  made.setOptions = (options, value) => {
    made.hidden = options.length < 2;
    select.replaceChildren(...options.map(([key, text, title = ""]) => element("option",
      {value: key, textContent: text, title})));
    select.value = value;
    select.title = select.selectedOptions[0]?.title ?? "";
  };
  return made;
}

class Viewer {
  constructor(host) {
    const data = JSON.parse(host.querySelector("script[type='application/json']").textContent);
    const {title, examples, labels, opens, speed} = data;
    Object.assign(this, {host, title, examples, opens, speed, frame: 0, timer: 0, scene: null, caption: "",
      waiting: false});
    this.labelOf = name => labels[name] ?? name;
    this.view = {number: 0, example: examples[0], picture: null, choice: null, head: 0, labelOf: this.labelOf};
    this.palette = paletteOf(modeOf(host));
    this.buildStage();
    this.buildControls();
    this.build(host.attachShadow({mode: "open"}));
    this.listen();
    this.watch();
    this.show({number: 0});
  }

  buildStage() {
    this.canvas = element("canvas");
    this.context = this.canvas.getContext("2d");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-describedby", "caption");
    this.tip = element("div", {className: "tip", hidden: true});
    this.stage = group("stage", "Picture; arrow keys step", this.canvas, this.tip);
    this.stage.tabIndex = 0;
    this.words = element("p", {className: "caption", id: "caption"});
    this.words.setAttribute("aria-live", "polite");
  }

  buildControls() {
    this.pictures = group("pictures", "Picture");
    this.exampleChoice = chooser("Example", value => this.show({number: Number(value)}));
    this.choiceChoice = chooser("Layer", value => this.show({choice: value}));
    this.headChoice = chooser("Head", value => this.show({head: Number(value)}));
    this.speedChoice = chooser("Speed", value => this.setSpeed(Number(value)));
    this.speedChoice.classList.add("speed");
    const speeds = [...new Set([...SPEEDS, this.speed])].sort((a, b) => a - b);
    this.speedChoice.setOptions(speeds.map(speed => [speed, `${speed}×`]), this.speed);
    this.scrub = element("input", {type: "range", min: 0, step: 1});
    this.scrub.setAttribute("aria-label", "Step");
    this.scrub.addEventListener("input", () => this.jump(Number(this.scrub.value)));
    this.count = element("output", {className: "count"});
    this.play = button("Play", PLAY, () => this.toggle(), "play");
    this.player = group("player", "Playback",
      button("First step", "⇤", () => this.jump(0)),
      button("Step back", "←", () => this.jump(this.frame - 1)),
      this.play,
      button("Step forward", "→", () => this.jump(this.frame + 1)),
      button("Last step", "⇥", () => this.jump(this.frames() - 1)),
      this.scrub, this.count, this.speedChoice);
    this.small = group("thumbnails", "All heads");
  }

  build(shadow) {
    const text = (className, textContent) => element("p", {className, textContent});
    const title = text("title", this.title);
    title.setAttribute("role", "heading");
    title.setAttribute("aria-level", document.querySelector("h1") ? "2" : "1");
    this.answer = text("answer", "");
    this.root = element("section", {className: "sqv"},
      element("div", {className: "top"}, title, this.pictures),
      this.answer,
      element("div", {className: "choices"}, this.exampleChoice, this.choiceChoice, this.headChoice),
      this.stage, this.words, this.player, this.small,
      element("div", {className: "bottom"}, text("hint", HINT),
        element("div", {className: "export"},
          button("Save this picture as SVG", "SVG", () => this.save("svg")),
          button("Save this picture as PNG", "PNG", () => this.save("png")))));
    this.root.setAttribute("aria-label", this.title);
    this.root.dataset.mode = this.palette.mode;
    shadow.append(element("style", {textContent: STYLE}), this.root);
  }

  kind() {
    return PICTURES[this.view.picture.kind];
  }

  frames() {
    return Math.max(1, this.kind().frames(this.view));
  }

  // Change what is shown: the example, the picture, the layer or the head.
  show(change) {
    const {view} = this, samePicture = !("number" in change) && !("picture" in change);
    if ("number" in change) this.setExample(change.number);
    if ("picture" in change) view.picture = change.picture;
    if (!view.picture) { this.showNothing(); return; }
    const choices = this.kind().choices(view.example, view.picture);
    const kept = choices.includes(view.choice) && samePicture;
    view.choice = "choice" in change ? change.choice : kept ? view.choice : view.picture.opens ?? choices[0];
    const heads = this.kind().heads?.(view) ?? 0;
    view.head = Math.min(Math.max(0, heads - 1), change.head ?? view.head);
    this.fillControls(choices, heads);
    if (!samePicture || this.frame >= this.frames()) {
      const asked = this.kind().opens ?? 0, last = this.frames() - 1;
      const opens = typeof asked === "function" ? asked(view) : asked;
      this.pause();
      this.frame = opens === "last" ? last : Math.min(last, opens);
    }
    this.scrub.max = this.frames() - 1;
    this.small.hidden = !this.kind().thumbnails;
    if (!samePicture) this.fillThumbnails();
    this.markThumbnail();
    this.draw();
  }

  setExample(number) {
    const {view} = this, now = view.picture?.kind ?? this.opens;
    view.number = number;
    view.example = this.examples[number];
    const answer = view.example.answer ?? "";
    this.answer.textContent = answer && `Answer: ${answer}`;
    this.answer.hidden = !answer;
    view.picture = view.example.pictures.find(one => one.kind === now) ?? view.example.pictures[0];
  }

  fillControls(choices, heads) {
    const {view} = this;
    this.pictures.replaceChildren(...view.example.pictures.map(picture => this.pictureButton(picture)));
    this.exampleChoice.setOptions(this.examples.map((example, i) => [i, `${i + 1}: ${excerpt(example)}`]), view.number);
    this.choiceChoice.rename(this.kind().chooses ?? "Layer");
    this.choiceChoice.setOptions(choices.map(name => [name, this.labelOf(name), name]), view.choice);
    this.headChoice.setOptions(Array.from({length: heads}, (_, i) => [i, String(i + 1)]), view.head);
  }

  pictureButton(picture) {
    const made = element("button", {type: "button", textContent: this.titleOf(picture)});
    made.dataset.kind = picture.kind;
    made.setAttribute("aria-pressed", String(picture === this.view.picture));
    made.addEventListener("click", () => {
      this.show({picture});
      this.pictures.querySelector("[aria-pressed=true]")?.focus();
    });
    return made;
  }

  titleOf(picture) {
    const same = this.view.example.pictures.filter(one => one.kind === picture.kind);
    return (picture.title ?? PICTURES[picture.kind].title) + (same.length > 1 ? ` ${same.indexOf(picture) + 1}` : "");
  }

  fillThumbnails() {
    if (this.small.hidden) return;
    const pick = (choice, head) => this.show({choice, head});
    this.small.replaceChildren(...this.kind().thumbnails(this.view, this.palette, pick));
  }

  markThumbnail() {
    const {choice, head} = this.view;
    for (const one of this.small.querySelectorAll("button")) {
      one.setAttribute("aria-pressed", String(one.dataset.module === choice && Number(one.dataset.head) === head));
    }
  }

  showNothing() {
    this.words.textContent = "This recording holds nothing that can be drawn.";
    for (const part of [this.pictures, this.stage, this.player, this.small]) part.hidden = true;
  }

  go(to) {
    const next = Math.min(this.frames() - 1, Math.max(0, to));
    if (next === this.frame) return;
    this.frame = next;
    if (!this.waiting) requestAnimationFrame(() => this.draw());
    this.waiting = true;
  }

  jump(to) {
    this.pause();
    this.go(to);
  }

  draw() {
    this.waiting = false;
    const {view, canvas, palette} = this, width = this.stage.clientWidth;
    if (!width || !view.picture) return;
    this.scene = new Scene(width, palette);
    this.caption = this.kind().draw(this.scene, view, this.frame);
    // One number for each pixel of the screen.
    const scale = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(this.scene.height * scale);
    canvas.style.height = `${this.scene.height}px`;
    this.scene.paint(this.context, scale);
    canvas.setAttribute("aria-label",
      `${this.titleOf(view.picture)}${view.choice ? `, ${this.labelOf(view.choice)}` : ""}`);
    this.words.setAttribute("aria-live", this.timer ? "off" : "polite");
    this.words.textContent = this.caption;
    this.scrub.value = this.frame;
    this.scrub.setAttribute("aria-valuetext", `${this.frame + 1} of ${this.frames()}`);
    this.count.textContent = `${this.frame + 1} / ${this.frames()}`;
    this.root.dataset.mode = palette.mode;
    this.root.dataset.drawn ??= performance.now().toFixed(0);
  }

  toggle() {
    if (this.timer) this.pause();
    else this.start();
  }

  start() {
    if (this.frame >= this.frames() - 1) this.go(0);
    const step = () => { if (this.frame >= this.frames() - 1) this.pause(); else this.go(this.frame + 1); };
    this.timer = setInterval(step, PACE / this.speed);
    this.setPlayButton("Pause", "❚❚");
  }

  setSpeed(speed) {
    this.speed = speed;
    if (!this.timer) return;
    clearInterval(this.timer);
    this.start();
  }

  pause() {
    clearInterval(this.timer);
    this.timer = 0;
    this.words.setAttribute("aria-live", "polite");
    this.setPlayButton("Play", PLAY);
  }

  setPlayButton(label, text) {
    this.play.textContent = text;
    this.play.title = label;
    this.play.setAttribute("aria-label", label);
  }

  async save(type) {
    const {scene} = this, file = `seqlearn-${this.view.picture.kind}-${this.frame + 1}.${type}`;
    let blob = new Blob([scene.svg(`${this.title}: ${this.caption}`)], {type: "image/svg+xml"});
    if (type === "png") {
      const large = element("canvas", {width: scene.width * 2, height: scene.height * 2});
      scene.paint(large.getContext("2d"), 2);
      blob = await new Promise(done => large.toBlob(done, "image/png"));
    }
    const link = element("a", {href: URL.createObjectURL(blob), download: file});
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  spotUnder(event) {
    const place = this.canvas.getBoundingClientRect(), x = event.clientX - place.left, y = event.clientY - place.top;
    const spot = this.scene?.spotAt(x, y);
    return spot ? {spot, x, y, dx: x - spot.x, dy: y - spot.y} : null;
  }

  point(event) {
    const {tip, stage} = this, found = this.spotUnder(event);
    const text = found && (found.spot.tipAt?.(found.dx, found.dy) ?? found.spot.tip);
    tip.hidden = !text;
    this.canvas.style.cursor = found && ("frame" in found.spot || found.spot.frameAt) ? "pointer" : "default";
    if (text) {
      tip.textContent = text;
      tip.style.left = `${Math.max(4, Math.min(found.x + 12, stage.clientWidth - tip.offsetWidth - 4))}px`;
      tip.style.top = `${Math.max(4, found.y - tip.offsetHeight - 10)}px`;
    }
    if (found?.spot.hover && event.pointerType === "mouse") this.jump(found.spot.frame);
  }

  click(event) {
    const found = this.spotUnder(event);
    const to = found && (found.spot.frameAt?.(found.dx, found.dy) ?? found.spot.frame);
    if (to !== undefined && to !== null) this.jump(to);
  }

  key(event) {
    const {target, key} = event, control = target.tagName;
    if (event.ctrlKey || event.altKey || event.metaKey || control === "SELECT" || !this.view.picture) return;
    const own = control === "INPUT", act = {
      " ": control === "BUTTON" ? null : () => this.toggle(),
      ArrowLeft: own ? null : () => this.jump(this.frame - 1),
      ArrowRight: own ? null : () => this.jump(this.frame + 1),
      Home: own ? null : () => this.jump(0),
      End: own ? null : () => this.jump(this.frames() - 1),
    }[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  listen() {
    this.canvas.addEventListener("pointermove", event => this.point(event));
    this.canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    this.canvas.addEventListener("pointerdown", event => this.point(event));
    this.canvas.addEventListener("click", event => this.click(event));
    this.root.addEventListener("keydown", event => this.key(event));
  }

  recolor(mode = modeOf(this.host)) {
    if (mode === this.palette.mode && this.root.dataset.mode) return;
    this.palette = paletteOf(mode);
    this.fillThumbnails();
    this.markThumbnail();
    this.draw();
  }

  // Draw again when the color scheme or the width changes.
  watch() {
    const recolor = () => this.recolor(), around = this.host.closest("[data-md-color-scheme]");
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
    if (around) new MutationObserver(recolor).observe(around,
      {attributes: true, attributeFilter: ["data-md-color-scheme"]});
    window.addEventListener("beforeprint", () => this.recolor("light"));
    window.addEventListener("afterprint", recolor);
    let width = 0;
    new ResizeObserver(() => {
      if (this.stage.clientWidth === width) return;
      width = this.stage.clientWidth;
      this.draw();
    }).observe(this.stage);
  }
}

// The beginning of an example's text, for the list of examples.
function excerpt(example) {
  const letters = Array.from(textOf(example, "source") || textOf(example, "target"));
  return letters.length > 40 ? letters.slice(0, 39).join("") + "…" : letters.join("");
}

// Viewers of this page; an event announces others that are added later.
function mount() {
  for (const host of document.querySelectorAll(".seqlearn-viewer")) if (!host.shadowRoot) new Viewer(host);
}
mount();
document.addEventListener("seqlearn-viewer", mount);
