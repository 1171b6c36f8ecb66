// Small plots of the last minute, drawn by hand.

const SPAN = 60; // s
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLOURS = ["--accent", "--second", "--third"].map(colour);

function made(tag, parent, text = "", name = "") {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  element.className = name;
  return element;
}

export class Plot {
  // `lines` are the names in the legend; `least`: the plot's scale holds at least this value, and its negative if `signed`.
  constructor(parent, { title, lines = [""], unit, least, signed = false, digits = 2 }) {
    Object.assign(this, { unit, least, signed, digits, points: [] });
    const box = made("div", parent, "", "plot");
    const header = made("header", box);
    made("h2", header, title);
    this.value = made("b", header, "–");
    if (lines.length > 1) {
      const legend = made("div", box, "", "legend");
      lines.forEach((line, i) => made("span", legend, line, `line${i}`));
    }
    this.canvas = made("canvas", box);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${title}, the last minute`);
  }

  // `values`: one a line, in the plot's unit; null where there is none.
  add(time, values) {
    this.points.push([time, values]);
    while (this.points.length && this.points[0][0] < time - SPAN) this.points.shift();
    const shown = values.filter((value) => value !== null).map((value) => value.toFixed(this.digits));
    this.value.textContent = shown.length ? `${shown.join("  ")} ${this.unit}` : "–";
  }

  draw(now) {
    const { canvas } = this, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const top = this.scale(), y = (value) => this.signed ? height / 2 - value / top * (height / 2 - 1) : height - 1 - value / top * (height - 2);
    this.grid(pen, width, y, top);
    const count = Math.max(0, ...this.points.map(([, values]) => values.length));
    for (let line = 0; line < count; line++) this.line(pen, line, (time) => width * (1 - (now - time) / SPAN), y);
  }

  scale() {
    let top = this.least;
    for (const [, values] of this.points) for (const value of values) top = Math.max(top, Math.abs(value ?? 0));
    const power = 10 ** Math.floor(Math.log10(top));
    return [1, 1.5, 2, 3, 5, 8, 10].map((step) => step * power).find((step) => step >= top * 0.999);
  }

  grid(pen, width, y, top) {
    pen.lineWidth = 1;
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--quiet");
    pen.font = "11px system-ui, sans-serif";
    for (const value of this.signed ? [top, 0, -top] : [top, 0]) {
      pen.beginPath();
      pen.moveTo(0, Math.round(y(value)) + 0.5);
      pen.lineTo(width, Math.round(y(value)) + 0.5);
      pen.stroke();
      if (value) pen.fillText(`${Number(value.toPrecision(2))}`, 2, y(value) + (value > 0 ? 12 : -4));
    }
  }

  line(pen, line, x, y) {
    pen.strokeStyle = COLOURS[line];
    pen.lineWidth = 1.6;
    pen.beginPath();
    let before = -Infinity;
    for (const [time, values] of this.points) {
      const value = values[line] ?? null;
      // A gap where nothing came: a line across it would say that something had.
      if (value === null) before = -Infinity;
      else {
        if (time - before > 2) pen.moveTo(x(time), y(value));
        else pen.lineTo(x(time), y(value));
        before = time;
      }
    }
    pen.stroke();
  }
}
