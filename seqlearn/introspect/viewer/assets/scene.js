// A picture as a list of shapes, which can be painted on a canvas or written as SVG.
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif";
const measuring = document.createElement("canvas").getContext("2d");
const widths = new Map();
const fontOf = (size, weight) => `${weight} ${size}px ${FONT}`;

function widthOf(text, size, weight = 400) {
  const key = `${weight} ${size} ${text}`;
  if (!widths.has(key)) {
    if (widths.size > 20000) widths.clear();
    measuring.font = fontOf(size, weight);
    widths.set(key, measuring.measureText(text).width);
  }
  return widths.get(key);
}

// As much of the beginning of a text as fits.
function fitted(text, room, size, weight) {
  if (text.length <= 200 && widthOf(text, size, weight) <= room) return text;
  const letters = Array.from(text.slice(0, 200));
  while (letters.length > 1 && widthOf(letters.join("") + "…", size, weight) > room) letters.pop();
  return letters.join("") + "…";
}

class Scene {
  constructor(width, palette) {
    this.width = width;
    this.height = 0;
    this.palette = palette;
    this.shapes = [];
    this.spots = [];
  }
  rect(x, y, width, height, {fill = "none", stroke = "none", line = 1, radius = 0, dash = "", opacity = 1} = {}) {
    this.shapes.push({type: "rect", x, y, width, height, fill, stroke, line, radius, dash, opacity});
  }
  path(d, {fill = "none", stroke = this.palette.faint, line = 1.25, dash = "", opacity = 1} = {}) {
    this.shapes.push({type: "path", d, fill, stroke, line, dash, opacity});
  }
  text(x, y, text, {size = 13, weight = 400, fill = this.palette.ink, align = "center", room = Infinity,
    opacity = 1} = {}) {
    const shown = room === Infinity ? text : fitted(text, room, size, weight);
    this.shapes.push({type: "text", x, y, text: shown, size, weight, fill, align, opacity});
  }
  // A heat map, as `heat` makes it, its cells scaled to the given size.
  cells(x, y, width, height, canvas, opacity = 1) {
    if (canvas.width && canvas.height) this.shapes.push({type: "cells", x, y, width, height, canvas, opacity});
  }
  arrow(x0, y0, x1, y1, style = {}) {
    const angle = Math.atan2(y1 - y0, x1 - x0), head = 5;
    const at = turn => `${x1 - head * Math.cos(angle + turn)} ${y1 - head * Math.sin(angle + turn)}`;
    this.path(`M${x0} ${y0}L${x1} ${y1}M${at(0.5)}L${x1} ${y1}L${at(-0.5)}`, style);
  }
  // An area that reacts to the pointer: a click selects `frame`, `tip` is its tooltip.
  spot(x, y, width, height, about) {
    this.spots.push({x, y, width, height, ...about});
  }
  spotAt(x, y) {
    return this.spots.findLast(s => x >= s.x && x < s.x + s.width && y >= s.y && y < s.y + s.height);
  }
  paint(context, scale) {
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = this.palette.surface;
    context.fillRect(0, 0, this.width, this.height);
    context.imageSmoothingEnabled = false;
    context.lineCap = context.lineJoin = "round";
    context.textBaseline = "middle";
    context.direction = "ltr";
    const snap = v => Math.round(v * scale) / scale;
    for (const shape of this.shapes) {
      context.globalAlpha = shape.opacity;
      if (shape.type === "text") {
        context.font = fontOf(shape.size, shape.weight);
        context.textAlign = shape.align;
        context.fillStyle = shape.fill;
        context.fillText(shape.text, shape.x, shape.y);
      } else if (shape.type === "cells") {
        const x = snap(shape.x), y = snap(shape.y);
        context.drawImage(shape.canvas, x, y, snap(shape.x + shape.width) - x, snap(shape.y + shape.height) - y);
      } else {
        const outline = shape.type === "path" ? new Path2D(shape.d) : new Path2D();
        if (shape.type === "rect") outline.roundRect(shape.x, shape.y, shape.width, shape.height, shape.radius);
        context.setLineDash(shape.dash ? shape.dash.split(" ").map(Number) : []);
        context.lineWidth = shape.line;
        if (shape.fill !== "none") { context.fillStyle = shape.fill; context.fill(outline); }
        if (shape.stroke !== "none") { context.strokeStyle = shape.stroke; context.stroke(outline); }
      }
    }
    context.globalAlpha = 1;
  }
  svg(title) {
    const attributes = {
      xmlns: "http://www.w3.org/2000/svg", role: "img", width: rounded(this.width), height: rounded(this.height),
      viewBox: `0 0 ${rounded(this.width)} ${rounded(this.height)}`, "font-family": FONT,
    };
    const ground = tag("rect", {width: "100%", height: "100%", fill: this.palette.surface});
    const style = [
      "text{dominant-baseline:central;unicode-bidi:isolate;white-space:pre}",
      "image{image-rendering:pixelated}",
      "path{stroke-linecap:round;stroke-linejoin:round}",
    ].join("");
    const content = [tag("title", {}, escaped(title)), tag("style", {}, style), ground, ...this.shapes.map(shapeTag)];
    return tag("svg", attributes, content.join(""));
  }
}

const rounded = v => Math.round(v * 100) / 100;

// An SVG element; `content` must be markup already.
function tag(name, attributes, content = "") {
  const listed = Object.entries(attributes).map(([key, value]) => ` ${key}="${escaped(String(value))}"`).join("");
  return `<${name}${listed}>${content}</${name}>`;
}

function shapeTag(shape) {
  const {type, opacity} = shape, place = {};
  for (const side of ["x", "y", "width", "height"]) if (side in shape) place[side] = rounded(shape[side]);
  if (type === "text") {
    const anchor = {left: "start", center: "middle", right: "end"}[shape.align];
    const font = {"font-size": shape.size, "font-weight": shape.weight, fill: shape.fill, "text-anchor": anchor};
    return tag("text", {...place, ...font, opacity: rounded(opacity)}, escaped(shape.text));
  }
  if (type === "cells") {
    const href = shape.canvas.toDataURL("image/png");
    return tag("image", {...place, preserveAspectRatio: "none", opacity: rounded(opacity), href});
  }
  const paint = {fill: shape.fill, stroke: shape.stroke, "stroke-width": shape.line, opacity: rounded(opacity)};
  if (shape.dash) paint["stroke-dasharray"] = shape.dash;
  return type === "path" ? tag("path", {d: shape.d, ...paint}) : tag("rect", {...place, rx: shape.radius, ...paint});
}

// One pixel for each number, row by row.
function heat(rows, columns, values, color) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  if (!rows || !columns) return canvas;
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows), {data} = image;
  for (let i = 0; i < values.length; i++) {
    const rgb = color(values[i]);
    data[4 * i] = rgb[0];
    data[4 * i + 1] = rgb[1];
    data[4 * i + 2] = rgb[2];
    data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// The first columns of a heat map.
function cropped(canvas, columns) {
  const part = document.createElement("canvas");
  part.width = columns;
  part.height = canvas.height;
  if (columns) part.getContext("2d").drawImage(canvas, 0, 0);
  return part;
}

// What was drawn of an object stays, as long as what it depends on is the same.
const drawings = new WeakMap();
function kept(object, key, make) {
  if (!drawings.has(object)) drawings.set(object, new Map());
  const found = drawings.get(object);
  if (!found.has(key)) {
    if (found.size > 8) found.clear();
    found.set(key, make());
  }
  return found.get(key);
}

const ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\uFFFE": "\uFFFD",
  "\uFFFF": "\uFFFD"};
const escaped = text => text.replace(/[&<>"'\uFFFE\uFFFF]/g, character => ENTITIES[character]);
