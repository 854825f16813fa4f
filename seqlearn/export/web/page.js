// The page: loads the model on a click, runs it on what is written, and shows what it did.
const $ = id => document.getElementById(id);
const page = JSON.parse($("page").textContent);
const off = new Map();
let model = null, running = false, again = false, plain = null;

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").setAttribute("role", isError ? "alert" : "status");
}

async function load() {
  $("load").disabled = true;
  say("Loading the runtime …");
  const {Model} = await import("./model.js");
  model = await Model.load(page, document.baseURI, name => say(`Loading the ${name} …`));
  $("load").hidden = true;
  $("ask").hidden = false;
  drawHeads();
  await run();
}

// Runs are one after another; what changes meanwhile is run afterwards.
async function run() {
  if (running) { again = true; return; }
  running = true;
  do {
    again = false;
    try {
      const found = await model.run($("text").value, off);
      if (!off.size) plain = found.answer;
      show(found);
    } catch (error) {
      say(String(error.message ?? error), true);
    }
  } while (again);
  running = false;
}

function show({answer, unknown, probabilities, example}) {
  $("answer").textContent = answer;
  $("answer").classList.toggle("changed", off.size > 0 && answer !== plain);
  const shares = (probabilities ?? []).map(([label, p]) => `${label} ${(100 * p).toFixed(1)}%`).join(" · ");
  const switched = off.size ? ` ${off.size} ${off.size === 1 ? "head is" : "heads are"} switched off` +
    `; with all heads: ${plain ?? "(run it without)"}` : "";
  const missing = unknown.length ? ` Not in the vocabulary: ${unknown.map(token => `“${token}”`).join(", ")}.` : "";
  say(`${shares}${missing}${switched}`.trim());
  const before = document.querySelector("#viewer .seqlearn-viewer");
  const kind = before?.shadowRoot?.querySelector(".pictures [aria-pressed=true]")?.dataset.kind;
  const data = {...page.viewer, opens: kind ?? page.viewer.opens, examples: [example]};
  const script = document.createElement("script"), host = document.createElement("div");
  script.type = "application/json";
  script.textContent = JSON.stringify(data);
  host.className = "seqlearn-viewer";
  host.append(script);
  $("viewer").replaceChildren(host);
  document.dispatchEvent(new Event("seqlearn-viewer"));
}

function drawHeads() {
  const rows = Object.values(page.graphs).flatMap(graph => graph.head_mask
    ? graph.head_mask.names.map(name => [name, graph.head_mask.heads]) : []);
  $("heads").hidden = !rows.length;
  for (const [name, count] of rows) {
    const row = document.createElement("div"), title = document.createElement("span");
    title.textContent = page.viewer.labels?.[name] ?? name;
    row.append(title);
    for (let head = 0; head < count; head++) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = String(head + 1);
      button.setAttribute("aria-pressed", "true");
      button.setAttribute("aria-label", `${title.textContent}, head ${head + 1}`);
      button.addEventListener("click", () => {
        const key = `${name}/${head}`, isOn = off.has(key);
        if (isOn) off.delete(key); else off.set(key, 0);
        button.setAttribute("aria-pressed", String(isOn));
        run();
      });
      row.append(button);
    }
    $("switches").append(row);
  }
}

for (const text of page.examples) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.addEventListener("click", () => { $("text").value = text; run(); });
  $("examples").append(button);
}
$("text").value = page.examples[0];
$("load").addEventListener("click", () => load().catch(error => {
  $("load").disabled = false;
  say(`The model could not be loaded: ${error.message ?? error}`, true);
}));
$("form").addEventListener("submit", event => { event.preventDefault(); run(); });
