// The page of a sweep (page.py): D is what it has to show. Rows are lists: parameters, then the columns of goals.
const $ = id => document.getElementById(id);
const D = JSON.parse($("data").textContent);
const keys = D.parameters.map(one => one.key), names = [...keys, ...D.columns], onFront = new Set(D.front);
const colour = name => getComputedStyle(document.body).getPropertyValue(name);
const POINT = "#0072b2";
let chosen = -1; // the row whose chip is shown
let places = []; // where each row stands in the scatter
let lines = []; // where the line of each row meets each axis

const UNITS = [["G", 2 ** 30], ["M", 2 ** 20], ["K", 2 ** 10]];

// A value in words.
function said(name, value) {
  if (typeof value !== "number") return String(value);
  const unit = name.endsWith("_bytes") && UNITS.find(([, size]) => value >= size);
  if (unit) return (value / unit[1]).toLocaleString("en-GB", { maximumFractionDigits: 1 }) + unit[0];
  if (value && Math.abs(value) < 1e-3) return value.toExponential(2);
  return value.toLocaleString("en-GB", { maximumSignificantDigits: 5 });
}

// An axis: where a value lies along it, from 0 to 1, and its ticks. Words, and `byPlace` all that is listed, lie evenly.
function axis(k, byPlace) {
  const name = names[k], list = k < keys.length ? D.parameters[k].values : [];
  if (list.length && (byPlace || typeof list[0] !== "number")) {
    const at = new Map(list.map((value, i) => [value, list.length > 1 ? i / (list.length - 1) : 0.5]));
    const few = list.length <= 9 ? list : [list[0], list[list.length - 1]];
    return { name, at: value => at.get(value), ticks: few.map(value => [at.get(value), said(name, value)]) };
  }
  let low = Infinity, high = -Infinity;
  for (const row of D.rows) [low, high] = [Math.min(low, row[k]), Math.max(high, row[k])];
  const log = low > 0 && high / low >= 8, scaled = value => (log ? Math.log(value) : value);
  const at = value => (high > low ? (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) : 0.5);
  const shown = byPlace || high === low ? [...new Set([low, high])] : log ? decades(low, high) : evenly(low, high);
  return { name, at, ticks: shown.map(value => [at(value), said(name, value)]) };
}

function decades(low, high) {
  const found = [], digits = high / low > 100 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    found.push(...digits.map(digit => digit * 10 ** power).filter(value => value >= low && value <= high));
  return found.length > 1 ? found : [low, high];
}

function evenly(low, high) {
  const ten = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = ten * [1, 2, 5, 10].find(digit => digit * ten >= (high - low) / 5), found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(value);
  return found;
}

// The context of a canvas that is cleared, as wide as it is shown, and that width.
function begin(canvas, height) {
  const width = canvas.clientWidth, by = window.devicePixelRatio || 1;
  [canvas.width, canvas.height, canvas.style.height] = [width * by, height * by, height + "px"];
  const c = canvas.getContext("2d");
  c.scale(by, by);
  c.font = "12px system-ui, sans-serif";
  c.fillStyle = colour("--fore");
  c.strokeStyle = colour("--faint");
  return [c, width];
}

function stroke(c, points) {
  c.beginPath();
  points.forEach(([x, y], k) => (k ? c.lineTo(x, y) : c.moveTo(x, y)));
  c.stroke();
}

function drawScatter() {
  const height = 420, [c, width] = begin($("scatter"), height), kx = +$("x").value, ky = +$("y").value;
  const x = axis(kx), y = axis(ky), right = width - 24, top = 28, left = 76, bottom = height - 42;
  const X = part => left + (right - left) * part, Y = part => bottom - (bottom - top) * part;
  const called = name => (D.units[name] ? `${name}, ${D.units[name]}` : name);
  let end = -Infinity;
  c.textAlign = "center";
  for (const [at, words] of x.ticks) {
    const half = c.measureText(words).width / 2;
    stroke(c, [[X(at), top], [X(at), bottom + 6]]);
    if (X(at) - half < end + 6) continue;
    c.fillText(words, X(at), bottom + 22);
    end = X(at) + half;
  }
  c.textAlign = "right";
  for (const [at, words] of y.ticks) {
    stroke(c, [[left - 6, Y(at)], [right, Y(at)]]);
    c.fillText(words, left - 10, Y(at) + 4);
  }
  c.fillText(called(x.name), right, height - 4);
  c.textAlign = "left";
  c.fillText(called(y.name), 4, 14);
  places = D.rows.map(row => [X(x.at(row[kx])), Y(y.at(row[ky]))]);
  const dot = (k, radius, fill) => {
    c.fillStyle = fill;
    c.beginPath();
    c.arc(...places[k], radius, 0, 7);
    c.fill();
  };
  c.globalAlpha = D.rows.length > 2000 ? 0.35 : 0.7;
  places.forEach((_, k) => onFront.has(k) || dot(k, 3, POINT));
  c.globalAlpha = 1;
  D.front.forEach(k => dot(k, 4.5, colour("--mark")));
  if (chosen < 0) return;
  [c.strokeStyle, c.lineWidth] = [colour("--fore"), 2];
  c.beginPath();
  c.arc(...places[chosen], 8, 0, 7);
  c.stroke();
}

function drawLines() {
  const height = 380, canvas = $("lines");
  canvas.style.minWidth = Math.max(300, 84 * names.length) + "px";
  const [c, width] = begin(canvas, height), axes = names.map((_, k) => axis(k, true));
  const X = k => 46 + ((width - 92) * k) / (names.length - 1), Y = part => height - 18 - (height - 66) * part;
  lines = D.rows.map(row => axes.map((one, k) => [X(k), Y(one.at(row[k]))]));
  const line = (k, style, thick, alpha) => {
    [c.strokeStyle, c.lineWidth, c.globalAlpha] = [style, thick, alpha];
    stroke(c, lines[k]);
  };
  // The more there are, the fainter each.
  const faint = (count, least, most) => Math.min(most, Math.max(least, 30 / Math.max(1, count)));
  lines.forEach((_, k) => onFront.has(k) || line(k, POINT, 1, faint(lines.length, 0.02, 0.6)));
  D.front.forEach(k => line(k, colour("--mark"), 1.5, faint(D.front.length, 0.08, 0.9)));
  if (chosen >= 0) line(chosen, colour("--fore"), 3, 1);
  [c.globalAlpha, c.lineWidth, c.strokeStyle, c.textAlign] = [1, 1, colour("--fore"), "center"];
  axes.forEach((one, k) => {
    stroke(c, [[X(k), Y(1) - 6], [X(k), Y(0) + 6]]);
    c.fillStyle = colour("--fore");
    const [section, rest] = one.name.split(/\.(.*)/);
    if (rest) c.fillText(section + ".", X(k), 12);
    const word = rest || section;
    c.fillText(word.length > 13 ? word.slice(0, 12) + "\u2026" : word, X(k), 28);
    for (const [at, words] of one.ticks) {
      const half = c.measureText(words).width / 2 + 2;
      [c.fillStyle, c.globalAlpha] = [colour("--back"), 0.75];
      c.fillRect(X(k) - half, Y(at) - 7, 2 * half, 14);
      [c.fillStyle, c.globalAlpha] = [colour("--fore"), 1];
      c.fillText(words, X(k), Y(at) + 4);
    }
  });
}

// The chip of a row as a file.
function toml(row) {
  const set = new Map(keys.map((key, k) => [key, row[k]]));
  const held = new Map(D.chips[set.get("chip") ?? ""].map(([key, ...rest]) => [key, rest]));
  const out = [], quoted = text => JSON.stringify(text), written = one => (typeof one === "number" ? one : quoted(one));
  for (const [key, value] of set) {
    if (!D.options.includes(key)) held.set(key, [value, D.set]);
    else if (key !== "chip") out.push(`# ${key} = ${value}`);
  }
  const kind = held.get("te.kind")[0];
  const fields = D.order.filter(key => held.has(key) && (D.kinds[key] ?? kind) === kind).map(key => key.split("."));
  for (const section of new Set(fields.map(([section]) => section))) {
    const mine = fields.filter(([one]) => one === section).map(([, key]) => [key, ...held.get(`${section}.${key}`)]);
    out.push(...(out.length ? [""] : []), `[${section}]`, ...mine.map(([key, value]) => `${key} = ${written(value)}`));
    out.push(...mine.filter(([, , source]) => source).map(([key, , source]) => `source.${key} = ${quoted(source)}`));
  }
  return out.join("\n") + "\n";
}

function choose(k) {
  chosen = k;
  $("point").textContent = names.map((name, i) => `${name} = ${said(name, D.rows[k][i])}`).join(", ");
  $("toml").textContent = toml(D.rows[k]);
  $("chip").hidden = false;
  for (const one of document.querySelectorAll("tr[data-row]"))
    one.classList.toggle("chosen", +one.dataset.row === k);
  draw();
}

// The row that is nearest; of two as near, one on the front.
function nearest(distances) {
  let best = 0;
  const less = (a, b) => distances[a] < distances[b] || (distances[a] === distances[b] && onFront.has(a));
  for (let k = 1; k < distances.length; k++) if (less(k, best)) best = k;
  return best;
}

function clicked(canvas, distance) {
  canvas.onclick = event => {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    choose(nearest(D.rows.map((_, k) => distance(k, x, y))));
  };
}

function draw() {
  drawScatter();
  drawLines();
}

clicked($("scatter"), (k, x, y) => (places[k][0] - x) ** 2 + (places[k][1] - y) ** 2);
clicked($("lines"), (k, x, y) => {
  const line = lines[k], found = line.findIndex(([at]) => at >= x);
  const to = Math.max(1, found < 0 ? line.length - 1 : found), [[a, b], [c, d]] = [line[to - 1], line[to]];
  return Math.abs(b + ((d - b) * (x - a)) / (c - a) - y);
});
for (const row of document.querySelectorAll("tr[data-row]")) row.onclick = () => choose(+row.dataset.row);
$("copy").onclick = () => navigator.clipboard.writeText($("toml").textContent);
for (const id of ["x", "y"]) {
  names.forEach((name, k) => $(id).add(new Option(name, k)));
  $(id).value = D[id];
  $(id).onchange = drawScatter;
}
window.addEventListener("resize", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
