// Colours: one accent, a sequential and a diverging map, even in lightness (OKLab) in both modes.
// Source of the conversion: Ottosson 2020, "A perceptual color space for image processing".
function srgb(lightness, chroma, hue) {
  const a = chroma * Math.cos(hue * Math.PI / 180), b = chroma * Math.sin(hue * Math.PI / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map(x => Math.round(255 * Math.min(1, Math.max(0, x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055))));
}

function ramp(color) {
  return Array.from({length: 256}, (_, i) => srgb(...color(i / 255)));
}

const INK = {
  light: {surface: "#ffffff", ink: "#1b1e28", muted: "#505666", faint: "#6b7182", line: "#d5d9e2", ghost: "#eceef3",
    accent: "#3f45c8", onAccent: "#ffffff",
    heads: ["#0072b2", "#d55e00", "#008a63", "#b8538c", "#7a5ccb", "#8a7200", "#2a8fc7", "#5a6070"]},
  dark: {surface: "#16181f", ink: "#eceef4", muted: "#a6acbb", faint: "#868d9e", line: "#363b48", ghost: "#22262f",
    accent: "#a5adff", onAccent: "#14161d",
    heads: ["#56b4e9", "#f2904a", "#3ccb9f", "#e79ac4", "#b7a4ff", "#dccb4e", "#7fd0ff", "#b4bac8"]},
};

function paletteOf(mode) {
  const dark = mode === "dark";
  const sequential = dark
    ? ramp(t => [0.24 + 0.66 * t, 0.15 * Math.min(1, 2.2 * t) * (1 - 0.45 * t), 275 - 15 * t])
    : ramp(t => [0.975 - 0.6 * t, 0.2 * Math.min(1, 1.5 * t) * (1 - 0.1 * t), 262 + 12 * t]);
  const side = hue => dark
    ? ramp(t => [0.255 + 0.52 * t, 0.14 * t, hue])
    : ramp(t => [0.965 - 0.44 * t, 0.17 * t, hue]);
  const positive = side(38), negative = side(252), strange = dark ? [255, 214, 64] : [196, 150, 0];
  const ground = channels(INK[mode].ghost), heads = INK[mode].heads.map(channels);
  return {
    mode,
    ...INK[mode],
    // One colour for each head, after Okabe & Ito 2008: apart also for the colour-blind.
    head: number => css(heads[number % heads.length]),
    // Of a share from 0 to 1, in the colour of a head.
    headWeight: number => t => Number.isFinite(t)
      ? ground.map((low, i) => Math.round(low + (heads[number % heads.length][i] - low) * Math.min(1, Math.max(0, t))))
      : strange,
    // Of a share from 0 to 1, as [red, green, blue]; what is no number has a colour of its own.
    weight: t => Number.isFinite(t) ? sequential[Math.round(255 * Math.min(1, Math.max(0, t)))] : strange,
    // Of a number from -1 to 1.
    signed: t => Number.isFinite(t) ? (t < 0 ? negative : positive)[Math.round(255 * Math.min(1, Math.abs(t)))]
      : strange,
  };
}

const channels = color => [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));

const css = ([red, green, blue]) => `rgb(${red},${green},${blue})`;

// The mode of the page around: Material for MkDocs names its scheme, else the system's counts.
function modeOf(host) {
  const named = host.closest("[data-md-color-scheme]");
  if (named) return named.getAttribute("data-md-color-scheme") === "slate" ? "dark" : "light";
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
