// The tokenizers of seqlearn: characters, words and byte-level BPE, read from the JSON of the
// `tokenizers` library. A text to ids, and ids to a text.
const PAD = 0, UNKNOWN = 1, START = 2, END = 3;
const SPLIT = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

// The printable character that stands for each byte (Radford et al. 2019).
const BYTES = (() => {
  const printable = b => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({length: 256}, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
})();
const BYTE_OF = new Map(BYTES.map((character, byte) => [character, byte]));

export class Tokenizer {
  // `side` is a source or target of page.json: its `kind` of tokens, its tokenizer, the names of ids.
  constructor(side) {
    this.tokens = side.tokens;
    this.lowercase = side.lowercase;
    this.names = side.names;
    this.vocabulary = new Map(Object.entries(side.vocabulary));
    this.pieces = new Map([...this.vocabulary].map(([piece, id]) => [id, piece]));
    this.ranks = new Map((side.merges ?? []).map((pair, rank) => [pair.join("\u0000"), rank]));
    this.known = new Map();
  }

  encode(text) {
    return this.split(text).map(piece => this.vocabulary.get(piece) ?? UNKNOWN);
  }

  // The tokens of a text that the vocabulary lacks, each once.
  unknown(text) {
    const lacking = new Set(this.split(text).filter(piece => !this.vocabulary.has(piece)));
    return [...lacking].map(piece => this.tokens === "bpe" ? this.text(piece) : piece.replace(/^ (?=.)/u, ""));
  }

  split(text) {
    const lowered = this.lowercase ? text.toLowerCase() : text;
    if (this.tokens === "char") return Array.from(lowered);
    if (this.tokens === "word") return lowered.split(/\s+/u).filter(Boolean).map(word => ` ${word}`);
    return lowered ? (` ${lowered}`.match(SPLIT) ?? []).flatMap(part => this.merge(part)) : [];
  }

  // The pieces of one part of a text: the pair with the lowest rank is merged until none is left.
  merge(part) {
    if (this.known.has(part)) return this.known.get(part);
    let pieces = Array.from(new TextEncoder().encode(part), byte => BYTES[byte]);
    for (;;) {
      let best = Infinity;
      for (let i = 0; i + 1 < pieces.length; i++) best = Math.min(best, this.rank(pieces, i));
      if (best === Infinity) break;
      const merged = [];
      for (let i = 0; i < pieces.length; i++) {
        if (i + 1 < pieces.length && this.rank(pieces, i) === best) merged.push(pieces[i] + pieces[++i]);
        else merged.push(pieces[i]);
      }
      pieces = merged;
    }
    this.known.set(part, pieces);
    return pieces;
  }

  rank(pieces, i) {
    return this.ranks.get(`${pieces[i]}\u0000${pieces[i + 1]}`) ?? Infinity;
  }

  decode(ids) {
    const kept = ids.filter(id => id !== PAD && id !== START && id !== END);
    const pieces = kept.map(id => this.pieces.get(id) ?? "");
    if (this.tokens === "char") return pieces.join("");
    if (this.tokens === "word") return pieces.map(piece => piece === "<unk>" ? " <unk>" : piece).join("").replace(/^ /, "");
    return this.text(pieces.join("")).replace(/^ /, "");
  }

  // The text that the printable characters of bytes stand for.
  text(characters) {
    const bytes = Array.from(characters).filter(c => BYTE_OF.has(c)).map(c => BYTE_OF.get(c));
    return new TextDecoder().decode(Uint8Array.from(bytes));
  }
}

export {PAD, UNKNOWN, START, END};
