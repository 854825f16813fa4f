// Packs arrays as the viewer reads them: the counterpart of seqlearn/introspect/viewer/quantise.py.
const NATS = 40, WEIGHT_STEPS = 65533, NOT_A_WEIGHT = 65535, VECTOR_STEPS = 127, MAX_UNITS = 64;

function base64(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

// One head: `rows` arrays of `columns` weights.
export function packWeights(rows, columns) {
  const tops = Float32Array.from(rows, row => row.reduce((a, b) => Math.max(a, Number.isFinite(b) ? b : 0), 0));
  const codes = new Uint16Array(rows.length * columns);
  rows.forEach((row, query) => row.forEach((weight, key) => {
    let code = 0;
    if (!Number.isFinite(weight)) code = NOT_A_WEIGHT;
    else if (weight > 0) {
      const nats = Math.log(weight) - Math.log(tops[query]);
      code = Math.min(WEIGHT_STEPS, Math.max(0, Math.round((nats / NATS + 1) * WEIGHT_STEPS))) + 1;
    }
    codes[query * columns + key] = code;
  }));
  return {top: base64(tops), codes: base64(codes)};
}

// States or a gate: one array for each step.
export function packVectors(steps) {
  const width = steps[0]?.length ?? 0, count = Math.min(width, MAX_UNITS);
  const units = Array.from({length: count}, (_, place) => Math.floor((place + 0.5) * width / count));
  const values = steps.flatMap(step => units.map(unit => step[unit]));
  const scale = values.reduce((a, v) => Math.max(a, Number.isFinite(v) ? Math.abs(v) : 0), 1e-9);
  const codes = Int8Array.from(values, v => Number.isFinite(v) ? Math.round(v / scale * VECTOR_STEPS) : -128);
  return {steps: steps.length, width, units, scale, codes: base64(codes)};
}
