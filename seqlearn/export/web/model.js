// Runs the exported graphs: greedy search, with what the model recorded at each step.
import * as ort from "./ort.wasm.bundle.min.mjs";
import {packVectors, packWeights} from "./packing.js";
import {END, START, Tokenizer} from "./tokenizer.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = {wasm: new URL("./ort-wasm-simd-threaded.wasm", import.meta.url).href};

const whole = numbers => BigInt64Array.from(numbers, BigInt);

// The rows of the last axis, as arrays.
function rowsOf({data, dims}) {
  const width = dims[dims.length - 1], count = width ? data.length / width : 0;
  return Array.from({length: count}, (_, i) => Array.from(data.subarray(i * width, (i + 1) * width)));
}

// The text in pieces, one for each token: what each adds to the text.
function pieces(side, ids) {
  const until = count => side.decode(ids.slice(0, count));
  return ids.map((_, i) => until(i + 1).slice(until(i).length));
}

export class Model {
  constructor(page, sessions) {
    this.page = page;
    this.sessions = sessions;
    this.source = page.source && new Tokenizer(page.source);
    this.target = page.target.tokens ? new Tokenizer(page.target) : null;
  }

  static async load(page, base, progress) {
    const sessions = {};
    for (const [name, graph] of Object.entries(page.graphs)) {
      progress(name);
      sessions[name] = await ort.InferenceSession.create(new URL(graph.file, base).href, {executionProviders: ["wasm"]});
    }
    return new Model(page, sessions);
  }

  // The weights of heads, 1 unless `heads` (a map from "module/number") says otherwise.
  mask(name, heads) {
    const shape = this.page.graphs[name].head_mask;
    if (!shape) return {};
    const weights = shape.names.flatMap(module => Array.from({length: shape.heads},
      (_, head) => heads.get(`${module}/${head}`) ?? 1));
    return {head_mask: new ort.Tensor("float32", Float32Array.from(weights), [shape.names.length, shape.heads])};
  }

  // The answer to a text, and the example that the viewer shows.
  async run(text, heads = new Map()) {
    const record = new Map(), keep = (outputs, step) => {
      for (const [name, tensor] of Object.entries(outputs)) {
        if (!/^(attention|states|gates)\//.test(name)) continue;
        if (!record.has(name)) record.set(name, []);
        record.get(name).push({tensor, step});
      }
    };
    let encoded = {}, read = null;
    const side = this.source ?? this.target, ids = side.encode(text), unknown = side.unknown(text);
    this.check(ids);
    if (this.source) {
      read = ids;
      const feed = {
        source: new ort.Tensor("int64", whole(ids), [1, ids.length]),
        source_lengths: new ort.Tensor("int64", whole([ids.length]), [1]),
      };
      encoded = await this.sessions.encoder.run({...feed, ...this.mask("encoder", heads)});
      keep(encoded, 0);
    }
    if (!this.sessions.decoder) return {...this.classified(read, encoded, record), unknown};
    const prompt = this.source ? [] : ids, inputs = [], outputs = [];
    const graph = this.page.graphs.decoder, memory = {}, state = {};
    for (const name of graph.memory) memory[name] = encoded[name];
    for (const [name, shape] of Object.entries(graph.states)) {
      const dims = [1, ...shape], size = dims.reduce((a, b) => a * b, 1);
      state[name] = encoded[name] ?? new ort.Tensor("float32", new Float32Array(size), dims);
    }
    let token = START;
    const most = Math.min(prompt.length + this.page.max_new_tokens, this.page.positions ?? Infinity);
    for (let step = 0; step < most; step++) {
      const feed = {
        tokens: new ort.Tensor("int64", whole([token]), [1, 1, 1]),
        parents: new ort.Tensor("int64", whole([0]), [1, 1]),
        ...memory, ...state, ...this.mask("decoder", heads),
      };
      const found = await this.sessions.decoder.run(feed);
      keep(found, step);
      for (const name of Object.keys(state)) state[name] = found[`new.${name}`];
      inputs.push(token);
      token = step < prompt.length ? prompt[step] : this.best(found.logits.data);
      outputs.push(token);
      if (token === END) break;
    }
    const answer = this.target.decode(outputs);
    return {answer, unknown, example: this.example(record, read, inputs, outputs)};
  }

  check(ids) {
    const {limit} = this.page;
    if (!ids.length) throw new Error("Write at least one token.");
    if (ids.length > limit) throw new Error(`This page reads at most ${limit} tokens, and these are ${ids.length}; write a shorter text.`);
  }

  best(logits) {
    if (logits.some(x => Number.isNaN(x) || x === Infinity)) throw new Error("The outputs of the model are not numbers.");
    for (const id of this.page.suppressed_ids) logits[id] = -Infinity;
    return logits.reduce((best, value, id) => value > logits[best] ? id : best, 0);
  }

  classified(read, {outputs}, record) {
    const logits = Array.from(outputs.data), top = Math.max(...logits);
    if (!Number.isFinite(top)) throw new Error("The outputs of the model are not numbers.");
    const powers = logits.map(x => Math.exp(x - top)), sum = powers.reduce((a, b) => a + b, 0);
    const order = powers.map((power, i) => [this.page.target.labels[i], power / sum]).sort((a, b) => b[1] - a[1]);
    return {answer: order[0][0], probabilities: order.slice(0, 5), example: this.example(record, read, null, null)};
  }

  // The data of one example, after the template that was made of a recording in Python.
  example(record, source, inputs, outputs) {
    const template = this.page.template, lengths = {source: source?.length, target: inputs?.length, pooled: 1};
    const names = (side, ids) => ids && ids.map(id => side.names[id] ?? String(id));
    const steps = name => (record.get(name) ?? []).flatMap(({tensor}) => rowsOf(tensor));
    const texts = {source: source && pieces(this.source, source), target: outputs && pieces(this.target, outputs)};
    const filled = {
      ...template,
      texts: Object.fromEntries(Object.keys(template.texts).map(side => [side, texts[side] ?? []])),
      source: names(this.source, source),
      decoder_input: names(this.target, inputs),
      decoder_output: names(this.target, outputs),
      attention: template.attention.map(one => this.attention(one, record.get(`attention/${one.name}`), lengths)),
      states: template.states.map(one => ({name: one.name, time: one.time, label: one.label,
        ...packVectors(steps(`states/${one.name}`))})),
      gates: template.gates.map(one => ({...one, gates: Object.fromEntries(Object.keys(one.gates).map(gate =>
        [gate, packVectors(steps(`gates/${one.name}/${gate}`))]))})),
    };
    return filled;
  }

  // Maps of all heads: at once, or one row for each step, padded to the length of the last one.
  attention(template, recorded, lengths) {
    const heads = recorded[0].tensor.dims[1], parts = recorded.map(({tensor}) => rowsOf(tensor));
    const columns = Math.max(...recorded.map(({tensor}) => tensor.dims[3]));
    const each = Array.from({length: heads}, (_, head) => parts.flatMap(rows => {
      const one = rows.length / heads;
      return rows.slice(head * one, (head + 1) * one);
    }).map(row => [...row, ...Array(columns - row.length).fill(0)]));
    return {...template, rows: each[0].length, columns, heads: each.map(rows => packWeights(rows, columns))};
  }
}
