/* Dots of runs, one column for each objective, a light line through the runs of one split and seed, a bar at the mean.

   ResultsPlot(columns, label, alt): an SVG element. columns: [{name, colour, marker, values}], values a number or null for
   each unit, in the same order in every column. */
"use strict";

const ResultsPlot = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const [HEIGHT, TOP, LEFT, COLUMN, STEP] = [330, 14, 58, 74, 6];

  function make(tag, attributes, ...children) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  /* About five round numbers between two. */
  function ticks(lo, hi) {
    const raw = (hi - lo) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= raw);
    const found = [];
    for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step; k += 1) found.push(k * step);
    return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
  }

  /* Of matplotlib's markers those that the palette has, as paths around (0, 0). */
  const SHAPES = {
    o: "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
    s: "M-3.6-3.6h7.2v7.2h-7.2z",
    "^": "M0-4.6L4.4 3.6H-4.4z",
    v: "M0 4.6L4.4-3.6H-4.4z",
    D: "M0-4.8L4.8 0L0 4.8L-4.8 0z",
    P: "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    X: "M-4-2.4L-2.4-4L0-1.6L2.4-4L4-2.4L1.6 0L4 2.4L2.4 4L0 1.6L-2.4 4L-4 2.4L-1.6 0z",
  };
  const OTHER = "M0-5L1.5-1.6L5-1.3L2.3 1L3.2 4.6L0 2.6L-3.2 4.6L-2.3 1L-5-1.3L-1.5-1.6z";

  return (columns, label, alt) => {
    const known = columns.flatMap((c) => c.values.filter((v) => v !== null));
    let [lo, hi] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const margin = (hi - lo) * 0.08 || Math.abs(hi) * 0.05 || 0.5;
    [lo, hi] = [lo - margin, hi + margin];
    const longest = Math.max(...columns.map((c) => c.name.length), 4);
    const slope = longest * 6.2 > COLUMN - 4; // names that do not fit stand aslant
    const bottom = slope ? 24 + longest * 4.6 : 34;
    const width = LEFT + COLUMN * columns.length + (slope ? 10 : 4);
    const y = (v) => TOP + ((hi - v) / (hi - lo)) * (HEIGHT - TOP);
    const x = (k) => LEFT + COLUMN * (k + 0.5);
    const n = columns[0].values.length;
    const jitter = (i) => (n > 1 ? (i / (n - 1) - 0.5) * Math.min(STEP * n, COLUMN * 0.55) : 0);

    const svg = make("svg", {
      viewBox: `0 0 ${width} ${HEIGHT + bottom}`, width, height: HEIGHT + bottom, role: "img", "aria-label": alt,
      class: "results-svg",
    });
    svg.append(make("rect", { width, height: HEIGHT + bottom, fill: "#fff" }));
    const [at, digits] = ticks(lo, hi);
    for (const value of at) {
      svg.append(
        make("line", { x1: LEFT, x2: width - 4, y1: y(value), y2: y(value), stroke: "#e3e3e3" }),
        make("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(digits)),
      );
    }
    const middle = (TOP + HEIGHT) / 2;
    svg.append(make("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, label));
    for (let i = 0; i < n; i += 1) {
      const points = columns.flatMap((c, k) => (c.values[i] === null ? [] : [`${x(k) + jitter(i)},${y(c.values[i])}`]));
      if (points.length > 1) svg.append(make("polyline", { points: points.join(" "), fill: "none", stroke: "#d0d0d0" }));
    }
    columns.forEach((column, k) => {
      const there = column.values.filter((v) => v !== null);
      column.values.forEach((value, i) => {
        if (value === null) return;
        const place = `translate(${x(k) + jitter(i)} ${y(value)})`;
        const shape = SHAPES[column.marker] || OTHER;
        svg.append(make("path", { d: shape, transform: place, fill: column.colour, "fill-opacity": 0.85, class: "dot" }));
      });
      if (there.length) {
        const mean = y(there.reduce((a, b) => a + b) / there.length);
        svg.append(make("line", { x1: x(k) - 24, x2: x(k) + 24, y1: mean, y2: mean, stroke: "#000", "stroke-width": 2 }));
      } else {
        svg.append(make("text", { x: x(k), y: middle, "text-anchor": "middle" }, "none"));
      }
      const place = slope
        ? { x: x(k) + 8, y: HEIGHT + 14, "text-anchor": "end", transform: `rotate(-38 ${x(k) + 8} ${HEIGHT + 14})` }
        : { x: x(k), y: HEIGHT + 20, "text-anchor": "middle" };
      svg.append(make("text", place, column.name));
    });
    return svg;
  };
})();
