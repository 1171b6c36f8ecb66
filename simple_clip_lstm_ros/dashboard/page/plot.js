// Small plots of the last minute on a canvas.

const SPAN = 60; // s
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const COLORS = ["--accent", "--second", "--third"].map(color);

function append(tag, parent, text = "", name = "") {
  const element = parent.appendChild(document.createElement(tag));
  element.textContent = text;
  element.className = name;
  return element;
}

export class Plot {
  // `lines` are the names in the legend; `least`: the plot's scale holds at least this value, and its negative if `signed`.
  constructor(parent, { title, lines = [""], unit, least, signed = false, digits = 2 }) {
    Object.assign(this, { unit, least, signed, digits, points: [] });
    const box = append("div", parent, "", "plot");
    const header = append("header", box);
    append("h2", header, title);
    this.value = append("b", header, "–");
    if (lines.length > 1) {
      const legend = append("div", box, "", "legend");
      lines.forEach((line, i) => append("span", legend, line, `line${i}`));
    }
    this.canvas = append("canvas", box);
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${title}, the last minute`);
  }

  // `values`: one for each line, in the plot's unit; null if there is none.
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
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const top = this.scale(), y = (value) => this.signed ? height / 2 - value / top * (height / 2 - 1) : height - 1 - value / top * (height - 2);
    this.grid(context, width, y, top);
    const count = Math.max(0, ...this.points.map(([, values]) => values.length));
    for (let line = 0; line < count; line++) this.line(context, line, (time) => width * (1 - (now - time) / SPAN), y);
  }

  scale() {
    let top = this.least;
    for (const [, values] of this.points) for (const value of values) top = Math.max(top, Math.abs(value ?? 0));
    const power = 10 ** Math.floor(Math.log10(top));
    return [1, 1.5, 2, 3, 5, 8, 10].map((step) => step * power).find((step) => step >= top * 0.999);
  }

  grid(context, width, y, top) {
    context.lineWidth = 1;
    context.strokeStyle = color("--line");
    context.fillStyle = color("--quiet");
    context.font = "11px system-ui, sans-serif";
    for (const value of this.signed ? [top, 0, -top] : [top, 0]) {
      context.beginPath();
      context.moveTo(0, Math.round(y(value)) + 0.5);
      context.lineTo(width, Math.round(y(value)) + 0.5);
      context.stroke();
      if (value) context.fillText(`${Number(value.toPrecision(2))}`, 2, y(value) + (value > 0 ? 12 : -4));
    }
  }

  line(context, line, x, y) {
    context.strokeStyle = COLORS[line];
    context.lineWidth = 1.6;
    context.beginPath();
    let before = -Infinity;
    for (const [time, values] of this.points) {
      const value = values[line] ?? null;
      // Leave a gap where no value came.
      if (value === null) before = -Infinity;
      else {
        if (time - before > 2) context.moveTo(x(time), y(value));
        else context.lineTo(x(time), y(value));
        before = time;
      }
    }
    context.stroke();
  }
}
