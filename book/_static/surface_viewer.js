/* A surface that turns: every <figure class="surface-viewer"> with its data in a JSON script becomes interactive.

   Drawn on a 2-D canvas, from the far side to the near one, so it needs no GPU, no library and no network. Where
   scripts do not run, and on paper, the figure's static picture stays. The data are made by
   helpers.surface_viewer (format 1); see there for what each entry means. */
"use strict";

(() => {
  const FORMAT = 1;
  const VIRIDIS = [
    [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
    [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
  ];
  const START = { azimuth: -0.6, elevation: 0.62, zoom: 1 };
  const HEIGHT = 1.3; // of the box, whose floor is 2 by 2
  const TURN = Math.PI / 36; // of a key or a button

  /* 16-bit numbers, little-endian in base64, between lo and hi (of the logarithm where log); 65535 is not finite. */
  function decode(packed, length) {
    const text = atob(packed.data);
    if (text.length !== 2 * length) throw new Error(`surface of ${text.length / 2} points; expected ${length}`);
    const values = new Float64Array(length);
    for (let k = 0; k < length; k += 1) {
      const code = text.charCodeAt(2 * k) + 256 * text.charCodeAt(2 * k + 1);
      const value = packed.lo + ((packed.hi - packed.lo) * code) / 65534;
      values[k] = code === 65535 ? NaN : packed.log ? Math.exp(value) : value;
    }
    return values;
  }

  function colour(share) {
    const t = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1);
    const k = Math.min(VIRIDIS.length - 2, Math.floor(t));
    return VIRIDIS[k].map((c, i) => c + (VIRIDIS[k + 1][i] - c) * (t - k));
  }

  function readable(value) {
    if (value === null || !Number.isFinite(value)) return "not finite";
    const size = Math.abs(value);
    if (size === 0) return "0";
    return size >= 1e4 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  }

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  let made = 0;

  class Viewer {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector("script.surface-data").textContent);
      if (this.data.format !== FORMAT) throw new Error(`surface data of format ${this.data.format}; expected ${FORMAT}`);
      this.decoded = new Map();
      this.state = { plane: 0, quantity: 0, moment: this.data.steps.length - 1, path: true, same: true, log: false };
      this.view = { ...START };
      this.number = (made += 1);
      this.build();
      this.chooseScale();
      this.draw();
    }

    // ---- data

    get plane() {
      return this.data.planes[this.state.plane];
    }

    surface(moment = this.state.moment) {
      const { plane, quantity } = this.state;
      const key = `${plane} ${quantity} ${moment}`;
      if (!this.decoded.has(key)) {
        this.decoded.set(key, decode(this.plane.values[quantity][moment], this.plane.n ** 2));
      }
      return this.decoded.get(key);
    }

    /* Least and greatest finite value, at this moment or at all of them. */
    range(everywhere) {
      const moments = everywhere ? this.data.steps.map((_, m) => m) : [this.state.moment];
      let [lo, hi] = [Infinity, -Infinity];
      for (const m of moments) {
        for (const v of this.surface(m)) {
          if (v < lo) lo = v;
          if (v > hi) hi = v;
        }
      }
      if (lo > hi) return null;
      return hi > lo ? [lo, hi] : [lo - 0.5 * (Math.abs(lo) || 1), lo + 0.5 * (Math.abs(lo) || 1)];
    }

    /* Losses that span more than a factor of thirty start logarithmic; where there is a zero there is no logarithm. */
    chooseScale() {
      const range = this.range(true);
      const possible = range !== null && range[0] > 0;
      this.controls.log.disabled = !possible;
      this.state.log = possible && range[1] / range[0] > 30;
      this.controls.log.checked = this.state.log;
    }

    // ---- controls

    build() {
      const { data, state } = this;
      const change = (name, read) => (event) => {
        state[name] = read(event.target);
        if (name === "plane" || name === "quantity") this.chooseScale();
        this.draw();
      };
      const option = (entry, k) => make("option", { value: k }, entry.label);
      const group = (kind, label) => {
        const options = data.quantities.flatMap((q, k) => (q.kind === kind ? [option(q, k)] : []));
        return options.length ? [make("optgroup", { label }, ...options)] : [];
      };
      const quantity = make(
        "select", { onchange: change("quantity", (t) => Number(t.value)) },
        ...group("loss", "losses"), ...group("metric", "metrics"),
      );
      const plane = make("select", { onchange: change("plane", (t) => Number(t.value)) }, ...data.planes.map(option));
      const moment = make("input", {
        type: "range", min: 0, max: data.steps.length - 1, step: 1, value: state.moment,
        oninput: change("moment", (t) => Number(t.value)),
      });
      const check = (name) =>
        make("input", { type: "checkbox", checked: state[name], onchange: change(name, (t) => t.checked) });
      this.controls = { quantity, plane, moment, log: check("log"), same: check("same"), path: check("path") };
      this.stepText = make("output", {});
      const button = (text, label, act) => make("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
      const turning = make(
        "div", { class: "surface-buttons", role: "group", "aria-label": "view" },
        button("←", "turn left", () => this.turn(-TURN, 0)), button("→", "turn right", () => this.turn(TURN, 0)),
        button("↑", "tilt up", () => this.turn(0, TURN)), button("↓", "tilt down", () => this.turn(0, -TURN)),
        button("+", "zoom in", () => this.magnify(1.2)), button("−", "zoom out", () => this.magnify(1 / 1.2)),
        button("reset", "reset the view", () => this.reset()),
      );
      this.canvas = make("canvas", { tabindex: 0, role: "application", "aria-roledescription": "surface that turns" });
      this.status = make("p", { class: "surface-status", id: `surface-status-${this.number}`, "aria-live": "polite" });
      this.canvas.setAttribute("aria-describedby", this.status.id);
      this.table = make("tbody");
      const heads = ["step", "at the checkpoint", "lowest", "highest", "not finite"];
      const numbers = make(
        "details", {}, make("summary", {}, "Numbers"),
        make("div", { class: "surface-table" }, make(
          "table", {}, make("thead", {}, make("tr", {}, ...heads.map((h) => make("th", { scope: "col" }, h)))), this.table,
        )),
      );
      const labelled = (text, control, ...more) => make("label", {}, make("span", {}, text), control, ...more);
      const bar = make(
        "div", { class: "surface-controls" },
        labelled("show", quantity), labelled("plane", plane), labelled("step", moment, this.stepText),
        make(
          "div", { class: "surface-checks" }, labelled("logarithmic", this.controls.log),
          labelled("one scale for all steps", this.controls.same), labelled("path", this.controls.path),
        ),
        turning,
      );
      this.figure.prepend(make("div", { class: "surface-live" }, bar, this.canvas, this.status, numbers));
      this.figure.classList.add("surface-ready");
      this.listen();
    }

    listen() {
      const { canvas } = this;
      let held = null;
      canvas.addEventListener("pointerdown", (event) => {
        held = [event.clientX, event.clientY];
        canvas.setPointerCapture(event.pointerId);
        canvas.focus({ preventScroll: true });
      });
      canvas.addEventListener("pointermove", (event) => {
        if (!held) return;
        this.turn((event.clientX - held[0]) * 0.01, (event.clientY - held[1]) * 0.01);
        held = [event.clientX, event.clientY];
      });
      for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
      // a wheel over a page scrolls the page; it zooms only what has the focus
      canvas.addEventListener("wheel", (event) => {
        if (document.activeElement !== canvas) return;
        event.preventDefault();
        this.magnify(Math.exp(-0.0015 * event.deltaY));
      }, { passive: false });
      const keys = {
        ArrowLeft: () => this.turn(-TURN, 0), ArrowRight: () => this.turn(TURN, 0),
        ArrowUp: () => this.turn(0, TURN), ArrowDown: () => this.turn(0, -TURN),
        "+": () => this.magnify(1.2), "=": () => this.magnify(1.2), "-": () => this.magnify(1 / 1.2),
        Home: () => this.reset(), PageUp: () => this.go(1), PageDown: () => this.go(-1),
      };
      canvas.addEventListener("keydown", (event) => {
        if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault();
        keys[event.key]();
      });
      new ResizeObserver(() => this.draw()).observe(this.figure);
      const themes = { attributes: true, attributeFilter: ["data-theme", "data-mode", "class"] };
      new MutationObserver(() => this.draw()).observe(document.documentElement, themes);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    }

    turn(azimuth, elevation) {
      this.view.azimuth += azimuth;
      this.view.elevation = Math.min(Math.PI / 2, Math.max(0.08, this.view.elevation + elevation));
      this.draw();
    }

    magnify(factor) {
      this.view.zoom = Math.min(6, Math.max(0.5, this.view.zoom * factor));
      this.draw();
    }

    reset() {
      this.view = { ...START };
      this.draw();
    }

    go(by) {
      this.state.moment = Math.min(this.data.steps.length - 1, Math.max(0, this.state.moment + by));
      this.controls.moment.value = this.state.moment;
      this.draw();
    }

    // ---- drawing

    draw() {
      const { canvas, state } = this;
      const width = canvas.clientWidth;
      if (!width) return;
      const height = Math.round(Math.min(620, Math.max(320, 0.66 * width)));
      const dense = Math.min(3, window.devicePixelRatio || 1);
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
      canvas.style.height = `${height}px`;
      const context = canvas.getContext("2d");
      context.setTransform(dense, 0, 0, dense, 0, 0);
      context.font = "12px system-ui, sans-serif";
      this.ink = getComputedStyle(this.figure).color;
      this.paper = this.background();
      const range = this.range(state.same);
      this.describe(range);
      const drawn = new Picture(this, context, width, height, range);
      drawn.floor();
      if (range) {
        drawn.mesh();
        drawn.axes();
        if (state.path) drawn.path();
        drawn.marks();
        drawn.bar();
      }
      drawn.missing();
    }

    /* What the figure stands on, to outline marks with. */
    background() {
      for (let element = this.figure; element; element = element.parentElement) {
        const fill = getComputedStyle(element).backgroundColor;
        if (fill && fill !== "transparent" && !/, 0\)$/.test(fill)) return fill;
      }
      return "white";
    }

    describe(range) {
      const { data, state, plane } = this;
      const quantity = data.quantities[state.quantity];
      const step = data.steps[state.moment];
      this.stepText.textContent = `${step}`;
      this.controls.moment.setAttribute("aria-valuetext", `step ${step}`);
      const { best, centre, missing } = plane.summary[state.quantity][state.moment];
      const what = quantity.better === "lower" ? "lowest" : "highest";
      const parts = [`Step ${step}, ${quantity.label}: ${readable(centre)} at the checkpoint (●)`];
      if (best) parts.push(`${what} on the grid ${readable(best.value)} (◆) at ${readable(best.x)}, ${readable(best.y)}`);
      if (missing) parts.push(`${missing} of ${plane.n ** 2} points not finite (×), left open`);
      if (!range) parts.push("nothing finite to draw");
      this.status.textContent = `${parts.join("; ")}.`;
      this.canvas.setAttribute(
        "aria-label",
        `Surface of ${quantity.label} on ${plane.label}, step ${step}. Arrow keys turn it, plus and minus zoom, ` +
          "Page Up and Page Down change the step, Home resets the view.",
      );
      this.table.replaceChildren(...data.steps.map((s, m) => {
        const about = plane.summary[state.quantity][m];
        const cells = [s, readable(about.centre), readable(about.lowest), readable(about.highest), about.missing];
        return make("tr", m === state.moment ? { "aria-current": "true" } : {}, ...cells.map((c) => make("td", {}, String(c))));
      }));
    }
  }

  /* One drawing: how numbers become places on the canvas, and what is drawn where. */
  class Picture {
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
      for (const t of [0, 0.25, 0.5, 0.75, 1]) this.text(readable(this.valueAt(t)), [x + 16, top + (1 - t) * size], "left");
      this.text(viewer.data.quantities[viewer.state.quantity].label, [width - 6, 12], "right");
    }
  }

  function start() {
    for (const figure of document.querySelectorAll("figure.surface-viewer:not(.surface-ready)")) {
      try {
        figure.surfaceViewer = new Viewer(figure);
      } catch (error) {
        console.error("this surface cannot be drawn; its static picture stays", error);
      }
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
