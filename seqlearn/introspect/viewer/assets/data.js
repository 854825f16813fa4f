// Unpacks the data of quantise.py: weights as logarithms, vectors as bytes; unpacked on first use.
const SCORE_STEPS = 32000, MINUS_INFINITY = -32768, NOT_A_SCORE = -32767;
const NATS = 40, WEIGHT_STEPS = 65533, NOT_A_WEIGHT = 65535, VECTOR_STEPS = 127, NOT_A_NUMBER = -128;
const WEIGHTS = new Float32Array(65536);
for (let code = 1; code <= WEIGHT_STEPS + 1; code++) WEIGHTS[code] = Math.exp(((code - 1) / WEIGHT_STEPS - 1) * NATS);
WEIGHTS[NOT_A_WEIGHT] = NaN;

function unpack(text, type) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return new type(bytes.buffer);
}

const unpacked = new WeakMap();
function once(packed, make) {
  if (!unpacked.has(packed)) unpacked.set(packed, make());
  return unpacked.get(packed);
}

// One head: weights of a map of rows by columns, all of them or the greatest of each row.
class Head {
  constructor(packed, rows, columns) {
    this.rows = rows;
    this.columns = columns;
    this.tops = unpack(packed.top, Float32Array);
    this.codes = unpack(packed.codes, Uint16Array);
    this.sparse = "keys" in packed;
    this.kept = this.sparse ? this.codes.length / rows : columns;
    if (this.sparse) {
      this.keys = unpack(packed.keys, Uint32Array);
      this.rests = unpack(packed.rest, Float32Array);
      this.coarse = unpack(packed.coarse, Uint8Array);
      this.coarseTop = packed.coarse_top;
      this.coarseShape = packed.coarse_shape;
    }
    this.highest = this.tops.reduce((a, b) => Math.max(a, b), 0);
  }
  row(row) {
    const weights = new Float32Array(this.columns);
    for (let i = 0; i < this.kept; i++) {
      const place = row * this.kept + i;
      weights[this.sparse ? this.keys[place] : i] = WEIGHTS[this.codes[place]] * this.tops[row];
    }
    return weights;
  }
  // The k greatest weights of a row, as [key, weight], the greatest first.
  greatest(row, k) {
    const found = [];
    this.row(row).forEach((weight, key) => { if (weight > 0) found.push([key, weight]); });
    return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, k);
  }
  // The map at so many pixels, each the greatest weight in it: numbers from 0 to 1, by square root.
  pixels(width, height) {
    const shown = new Float32Array(width * height), scale = this.highest || 1;
    if (this.sparse) {
      const [down, across] = this.coarseShape;
      for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
        const code = this.coarse[Math.floor(y * down / height) * across + Math.floor(x * across / width)];
        shown[y * width + x] = code / 255 * this.coarseTop / scale;
      }
    }
    for (let row = 0; row < this.rows; row++) for (let i = 0; i < this.kept; i++) {
      const place = row * this.kept + i, key = this.sparse ? this.keys[place] : i;
      const weight = WEIGHTS[this.codes[place]] * this.tops[row] / scale;
      const x0 = Math.floor(key * width / this.columns),
        x1 = Math.max(x0 + 1, Math.floor((key + 1) * width / this.columns));
      const y0 = Math.floor(row * height / this.rows),
        y1 = Math.max(y0 + 1, Math.floor((row + 1) * height / this.rows));
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) {
        if (!(weight <= shown[y * width + x])) shown[y * width + x] = weight;
      }
    }
    return shown.map(Math.sqrt);
  }
}

function headOf(module, number) {
  const packed = module.heads[number];
  return once(packed, () => new Head(packed, module.rows, module.columns));
}

// The scores of a row before the softmax, as they were recorded; null where they were not.
function scoresOf(module, number, row) {
  if (!module.scores) return null;
  const packed = module.scores[number], codes = once(packed, () => unpack(packed.codes, Int16Array));
  return Float32Array.from(codes.subarray(row * module.columns, (row + 1) * module.columns), code => (
    code === MINUS_INFINITY ? -Infinity : code === NOT_A_SCORE ? NaN : code / SCORE_STEPS * packed.scale));
}

// What a head multiplies: its queries, keys or values; null where they were not recorded.
function headVectors(example, kind, name, number) {
  const packed = example.vectors.find(one => one.kind === kind && one.name === name)?.heads[number];
  return packed && packed.steps ? vectorsOf(packed) : null;
}

// States or a gate: numbers by step and kept unit.
class Vectors {
  constructor(packed) {
    this.steps = packed.steps;
    this.width = packed.width;
    this.units = packed.units;
    this.scale = packed.scale;
    this.count = packed.units.length;
    this.codes = unpack(packed.codes, Int8Array);
  }
  step(step) {
    const values = new Float32Array(this.count);
    for (let i = 0; i < this.count; i++) {
      const code = this.codes[step * this.count + i];
      values[i] = code === NOT_A_NUMBER ? NaN : code / VECTOR_STEPS * this.scale;
    }
    return values;
  }
  // All steps side by side, a row for each unit.
  across() {
    const values = new Float32Array(this.steps * this.count);
    for (let step = 0; step < this.steps; step++) this.step(step).forEach((value,
      unit) => { values[unit * this.steps + step] = value; });
    return values;
  }
}

const vectorsOf = packed => once(packed, () => new Vectors(packed));
const named = (list, name) => list.find(one => one.name === name);
// A sum of vectors with these weights.
function weightedSum(vectors, weights) {
  const sum = new Float32Array(vectors.count), count = Math.min(vectors.steps, weights.length);
  for (let key = 0; key < count; key++) {
    if (weights[key] > 0) vectors.step(key).forEach((value, unit) => { sum[unit] += weights[key] * value; });
  }
  return sum;
}

const mean = values => values.length ? values.reduce((a, b) => a + b, 0) / values.length : 0;
const size = values => Math.sqrt(values.reduce((a, b) => a + b * b, 0));
// The same as text, of units of these vectors; an estimate where only some of the units were stored.
function sizeText(values, {count, width}) {
  const found = number(size(values) * Math.sqrt(width / count));
  return count === width ? found : `about ${found}`;
}
// Whether the state before the first step is zero. A decoder starts from a state that is not recorded.
const startsAtZero = (example, packed) => packed.time !== "target" || !example.source;

// What one token of a sequence is called: "character", "word", "token" or "step".
const unitOf = (example, side) => example.units[side] ?? "token";
// The same at the beginning of a sentence.
const capitalizedUnit = (example, side) => unitOf(example, side).replace(/^./, letter => letter.toUpperCase());

// The beginning of a text, so many tokens of it; side is "source" or "target".
function textOf(example, side, count = Infinity) {
  const tokens = example.texts[side] ?? (side === "source" ? example.source : example.decoder_output) ?? [];
  const letters = example.texts[side] ? tokens
    : tokens.map(token => SPECIAL.has(token) ? "" : token.replaceAll("␣", " "));
  return letters.slice(0, count).join("").trim();
}

// The labels of a sequence: its tokens, or numbers where the tokens are not known.
function tokensOf(example, axis, count) {
  const tokens = axis === "source" ? example.source : axis === "target" ? example.decoder_input
    : axis === "decoder_output" ? example.decoder_output : axis === "pooled" ? ["pooled"] : null;
  return Array.from({length: count}, (_, i) => tokens && i < tokens.length ? tokens[i] : String(i));
}

// In cross-attention a query is named by the token that the decoder predicted there.
function labelsOf(example, module) {
  const [from, to] = module.axes;
  const queries = from === "target" && to === "source" ? "decoder_output" : from;
  return [tokensOf(example, queries, module.rows), tokensOf(example, to, module.columns)];
}
