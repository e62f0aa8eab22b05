/* One drawing of a surface on a 2-D canvas: how numbers become places, and what is drawn where.

   From the far side to the near one, so that what is near covers what is far; surface_viewer.js says what and when. */
"use strict";

(() => {
  const VIRIDIS = [
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
    [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
  ];
  const HEIGHT = 1.3; // of the box, whose floor is 2 by 2

  function colour(share) {
    const t = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1);
    const k = Math.min(VIRIDIS.length - 2, Math.floor(t));
    return VIRIDIS[k].map((c, i) => c + (VIRIDIS[k + 1][i] - c) * (t - k));
  }

  /* Three digits, or what to say where there is no number. */
  function readable(value) {
    if (value === null || !Number.isFinite(value)) return "not finite";
    const size = Math.abs(value);
    if (size === 0) return "0";
    return size >= 1e4 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  }

  class SurfacePicture {
    static readable = readable;

    constructor(viewer, context, width, height, range) {
      Object.assign(this, { viewer, context, width, height, range });
      const { azimuth, elevation, zoom } = viewer.view;
      [this.ca, this.sa] = [Math.cos(azimuth), Math.sin(azimuth)];
      [this.ce, this.se] = [Math.cos(elevation), Math.sin(elevation)];
      this.left = width < 560 ? 22 : 0; // room for the colour bar's labels
      this.scale = zoom * Math.min((width - 120) / 2.85, (height - 44) / 2.8);
      const { plane, state } = viewer;
      const { n } = plane;
      [this.x, this.y] = [plane.x[state.moment], plane.y[state.moment]];
      this.n = n;
      this.values = viewer.surface();
      const transform = state.log ? Math.log : (v) => v;
      const [lo, hi] = range ? range.map(transform) : [0, 1];
      this.share = (v) => (transform(v) - lo) / (hi - lo);
      this.valueAt = (t) => (state.log ? Math.exp(lo + t * (hi - lo)) : lo + t * (hi - lo));
    }

    /* Box coordinates (the floor from -1 to 1, height from 0 to 1) to the canvas. */
    place(u, v, h) {
      const z = (h - 0.5) * HEIGHT;
      const right = u * this.ca - v * this.sa;
      const away = u * this.sa + v * this.ca;
      return [
        (this.width - 50 - this.left) / 2 + this.scale * right,
        this.height / 2 - 4 - this.scale * (z * this.ce + away * this.se),
      ];
    }

    u(x) {
      return (2 * (x - this.x[0])) / (this.x[this.n - 1] - this.x[0]) - 1;
    }

    v(y) {
      return (2 * (y - this.y[0])) / (this.y[this.n - 1] - this.y[0]) - 1;
    }

    line(points, close = false) {
      const { context } = this;
      context.beginPath();
      points.forEach((p, k) => (k ? context.lineTo(...p) : context.moveTo(...p)));
      if (close) context.closePath();
    }

    floor() {
      const { context } = this;
      this.line([[-1, -1], [1, -1], [1, 1], [-1, 1]].map(([u, v]) => this.place(u, v, 0)), true);
      context.strokeStyle = this.viewer.ink;
      context.globalAlpha = 0.5;
      context.lineWidth = 1;
      context.stroke();
      context.globalAlpha = 1;
    }

    /* Quads from the far side to the near one; one with a corner that is not finite is left open. */
    mesh() {
      const { context, n, values } = this;
      const order = (descending) => {
        const all = Array.from({ length: n - 1 }, (_, k) => k);
        return descending ? all.reverse() : all;
      };
      const [columns, rows] = [order(this.sa > 0), order(this.ca > 0)];
      const places = new Array(n * n);
      const shares = new Float64Array(n * n);
      for (let j = 0; j < n; j += 1) {
        for (let i = 0; i < n; i += 1) {
          const k = j * n + i;
          shares[k] = this.share(values[k]);
          places[k] = this.place((2 * i) / (n - 1) - 1, (2 * j) / (n - 1) - 1, Math.min(1, Math.max(0, shares[k])));
        }
      }
      context.lineJoin = "round";
      context.lineWidth = 0.6;
      for (const j of rows) {
        for (const i of columns) {
          const corners = [j * n + i, j * n + i + 1, (j + 1) * n + i + 1, (j + 1) * n + i];
          if (corners.some((k) => !Number.isFinite(shares[k]))) continue;
          const mean = corners.reduce((sum, k) => sum + shares[k], 0) / 4;
          const slope = (shares[corners[1]] + shares[corners[2]] - shares[corners[0]] - shares[corners[3]]) * n * 0.25;
          const light = 1 - 0.22 * Math.tanh(0.5 * slope);
          const rgb = colour(mean).map((c) => Math.round(Math.min(255, c * light)));
          this.line(corners.map((k) => places[k]), true);
          context.fillStyle = `rgb(${rgb})`;
          context.fill();
          context.strokeStyle = `rgb(${rgb.map((c) => Math.round(c * 0.82))})`;
          context.stroke();
        }
      }
    }

    text(label, [x, y], align = "center") {
      const { context } = this;
      context.textAlign = align;
      context.textBaseline = "middle";
      context.lineWidth = 3;
      context.strokeStyle = this.viewer.paper;
      context.strokeText(label, x, y);
      context.fillStyle = this.viewer.ink;
      context.fillText(label, x, y);
    }

    /* Ticks along the two near edges of the floor, and up the leftmost corner. */
    axes() {
      const { context, viewer } = this;
      const near = [this.sa > 0 ? -1 : 1, this.ca > 0 ? -1 : 1];
      const [first, second] = viewer.plane.axes;
      const flat = viewer.view.elevation > 1.45;
      for (const [axis, coordinates, title] of [[0, this.x, first], [1, this.y, second]]) {
        const at = (t, out) => (axis ? this.place(near[0] * out, t, 0) : this.place(t, near[1] * out, 0));
        const middle = this.place(0, 0, 0);
        const side = at(0, 1.05)[0] - middle[0];
        const align = Math.abs(side) < 0.25 * this.scale ? "center" : side > 0 ? "left" : "right";
        for (const t of [-0.9, 0, 0.9]) {
          const value = coordinates[0] + ((t + 1) / 2) * (coordinates[this.n - 1] - coordinates[0]);
          this.line([at(t, 1), at(t, 1.04)]);
          context.strokeStyle = viewer.ink;
          context.lineWidth = 1;
          context.stroke();
          this.text(readable(Math.abs(value) < 1e-9 ? 0 : value), at(t, 1.12), align);
        }
        const [x, y] = at(0, 1.12);
        const wide = context.measureText(title).width;
        const low = Math.min(this.height - 8, y + 17);
        const start = align === "center" ? x - wide / 2 : align === "left" ? x : x - wide;
        this.text(title, [Math.max(4, Math.min(this.width - wide - 64, start)), low], "left");
      }
      if (flat) return;
      const corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]];
      const corner = corners.reduce((a, b) => (this.place(...a, 0)[0] <= this.place(...b, 0)[0] ? a : b));
      this.line([this.place(...corner, 0), this.place(...corner, 1)]);
      context.strokeStyle = viewer.ink;
      context.globalAlpha = 0.5;
      context.stroke();
      context.globalAlpha = 1;
      for (const t of [0.5, 1]) { // the floor's value would lie on the axes' labels: the colour bar has it
        const [x, y] = this.place(...corner, t);
        this.line([[x, y], [x - 4, y]]);
        context.strokeStyle = viewer.ink;
        context.stroke();
        this.text(readable(this.valueAt(t)), [x - 7, y], "right");
      }
    }

    /* Height of the drawn surface at (x, y); NaN outside, and where a corner of the cell is not finite. */
    heightAt(x, y) {
      const { n } = this;
      const a = ((this.u(x) + 1) / 2) * (n - 1);
      const b = ((this.v(y) + 1) / 2) * (n - 1);
      if (!(a >= 0 && a <= n - 1 && b >= 0 && b <= n - 1)) return NaN;
      const [i, j] = [Math.min(n - 2, Math.floor(a)), Math.min(n - 2, Math.floor(b))];
      const at = (p, q) => this.share(this.values[q * n + p]);
      const [s, t] = [a - i, b - j];
      return (at(i, j) * (1 - s) + at(i + 1, j) * s) * (1 - t) + (at(i, j + 1) * (1 - s) + at(i + 1, j + 1) * s) * t;
    }

    on(x, y) {
      const h = this.heightAt(x, y);
      return Number.isFinite(h) ? this.place(this.u(x), this.v(y), Math.min(1, Math.max(0, h))) : null;
    }

    dot([x, y], radius, fill) {
      const { context } = this;
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fillStyle = fill;
      context.fill();
      context.lineWidth = 1.2;
      context.strokeStyle = "white";
      context.stroke();
    }

    /* The checkpoints in order, laid on the surface; where there is no surface, there is no path. */
    path() {
      const { context, viewer } = this;
      const path = viewer.plane.path[viewer.state.moment].filter((p) => p !== null);
      for (const [width, style] of [[4, "white"], [1.8, "#D55E00"]]) {
        context.lineWidth = width;
        context.strokeStyle = style;
        context.beginPath();
        let before = null;
        path.forEach((p, k) => {
          if (!k) return;
          for (let s = 0; s <= 24; s += 1) {
            const here = this.on(...p.map((c, d) => path[k - 1][d] + ((c - path[k - 1][d]) * s) / 24));
            if (here) (before ? context.lineTo : context.moveTo).apply(context, here);
            before = here;
          }
        });
        context.stroke();
      }
      for (const p of path) {
        const here = this.on(...p);
        if (here) this.dot(here, 3, "#D55E00");
      }
    }

    marks() {
      const { context, viewer } = this;
      const { state, plane } = viewer;
      const { best, centre } = plane.summary[state.quantity][state.moment];
      const [i, j] = plane.centre[state.moment];
      if (centre !== null && i >= 0) {
        const h = Math.min(1, Math.max(0, this.share(centre)));
        this.dot(this.place(this.u(this.x[i]), this.v(this.y[j]), h), 6, "#D55E00");
      }
      if (best) {
        const [x, y] = this.place(this.u(best.x), this.v(best.y), Math.min(1, Math.max(0, this.share(best.value))));
        this.line([[x, y - 7], [x + 6, y], [x, y + 7], [x - 6, y]], true);
        context.fillStyle = "#CC79A7";
        context.fill();
        context.lineWidth = 1.4;
        context.strokeStyle = "white";
        context.stroke();
      }
    }

    /* A cross on the floor for each point that is not finite. */
    missing() {
      const { context, n, values } = this;
      context.strokeStyle = "#D55E00";
      context.lineWidth = 1.4;
      for (let k = 0; k < n * n; k += 1) {
        if (Number.isFinite(values[k])) continue;
        const [x, y] = this.place((2 * (k % n)) / (n - 1) - 1, (2 * Math.floor(k / n)) / (n - 1) - 1, 0);
        this.line([[x - 2.5, y - 2.5], [x + 2.5, y + 2.5]]);
        context.stroke();
        this.line([[x - 2.5, y + 2.5], [x + 2.5, y - 2.5]]);
        context.stroke();
      }
    }

    bar() {
      const { context, width, height, viewer } = this;
      const [top, size, x] = [30, height - 74, width - 58];
      for (let k = 0; k < size; k += 1) {
        context.fillStyle = `rgb(${colour(1 - k / size).map(Math.round)})`;
        context.fillRect(x, top + k, 12, 1.5);
      }
      for (const t of [0, 0.25, 0.5, 0.75, 1]) {
        this.text(readable(this.valueAt(t)), [x + 16, top + (1 - t) * size], "left");
      }
      this.text(viewer.data.quantities[viewer.state.quantity].label, [width - 6, 12], "right");
    }
  }

  window.SurfacePicture = SurfacePicture;
})();
