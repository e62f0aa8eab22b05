/* A surface that turns: every <figure class="surface-viewer"> with its data in a JSON script becomes interactive.

   This is the figure's data, controls, mouse and keyboard; surface_picture.js draws. Neither needs a GPU, a library or
   a network. Where scripts do not run, and on paper, the figure's static picture stays. The data are made by
   helpers.surface_viewer (format 1); see there for what each entry means. */
/* global SurfacePicture, labelledControl, makeElement */
"use strict";

(() => {
  const FORMAT = 1;
  const START = { azimuth: -0.6, elevation: 0.62, zoom: 1 };
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

  let made = 0;

  class Viewer {
    constructor(figure) {
      this.figure = figure;
      this.data = JSON.parse(figure.querySelector("script.surface-data").textContent);
      const { format } = this.data;
      if (format !== FORMAT) throw new Error(`surface data of format ${format}; expected ${FORMAT}`);
      this.decoded = new Map();
      this.state = { plane: 0, quantity: 0, moment: this.data.steps.length - 1, path: true, same: false, log: false };
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
      const option = (entry, k) => makeElement("option", { value: k }, entry.label);
      const group = (kind, label) => {
        const options = data.quantities.flatMap((q, k) => (q.kind === kind ? [option(q, k)] : []));
        return options.length ? [makeElement("optgroup", { label }, ...options)] : [];
      };
      const quantity = makeElement(
        "select", { onchange: change("quantity", (t) => Number(t.value)) },
        ...group("loss", "losses"), ...group("metric", "metrics"),
      );
      const plane = makeElement("select", { onchange: change("plane", (t) => Number(t.value)) }, ...data.planes.map(option));
      const moment = makeElement("input", {
        type: "range", min: 0, max: data.steps.length - 1, step: 1, value: state.moment,
        oninput: change("moment", (t) => Number(t.value)),
      });
      const check = (name) =>
        makeElement("input", { type: "checkbox", checked: state[name], onchange: change(name, (t) => t.checked) });
      this.controls = { quantity, plane, moment, log: check("log"), same: check("same"), path: check("path") };
      this.stepText = makeElement("output", {});
      const button = (text, label, onclick) =>
        makeElement("button", { type: "button", "aria-label": label, title: label, onclick }, text);
      const turning = makeElement(
        "div", { class: "surface-buttons", role: "group", "aria-label": "view" },
        button("←", "turn left", () => this.turn(-TURN, 0)), button("→", "turn right", () => this.turn(TURN, 0)),
        button("↑", "tilt up", () => this.turn(0, TURN)), button("↓", "tilt down", () => this.turn(0, -TURN)),
        button("+", "zoom in", () => this.magnify(1.2)), button("−", "zoom out", () => this.magnify(1 / 1.2)),
        button("reset", "reset the view", () => this.reset()),
      );
      this.canvas = makeElement("canvas", { tabindex: 0, role: "application", "aria-roledescription": "surface that turns" });
      this.status = makeElement("p", { class: "surface-status", id: `surface-status-${this.number}`, "aria-live": "polite" });
      this.canvas.setAttribute("aria-describedby", this.status.id);
      this.table = makeElement("tbody");
      const heads = ["step", "at the checkpoint", "lowest", "highest", "not finite"];
      const numbers = makeElement(
        "details", {}, makeElement("summary", {}, "Numbers"),
        makeElement("div", { class: "surface-table" }, makeElement(
          "table", {},
          makeElement("thead", {}, makeElement("tr", {}, ...heads.map((h) => makeElement("th", { scope: "col" }, h)))), this.table,
        )),
      );
      const bar = makeElement(
        "div", { class: "surface-controls" },
        labelledControl("show", quantity), labelledControl("plane", plane), labelledControl("step", moment, this.stepText),
        makeElement(
          "div", { class: "surface-checks" }, labelledControl("logarithmic", this.controls.log),
          labelledControl("one scale for all steps", this.controls.same), labelledControl("path", this.controls.path),
        ),
        turning,
      );
      this.figure.prepend(makeElement("div", { class: "surface-live" }, bar, this.canvas, this.status, numbers));
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
      const drawn = new SurfacePicture(this, context, width, height, range);
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
      const { readable } = SurfacePicture;
      const { data, state, plane } = this;
      const quantity = data.quantities[state.quantity];
      const step = data.steps[state.moment];
      this.stepText.textContent = `${step}`;
      this.controls.moment.setAttribute("aria-valuetext", `step ${step}`);
      const { best, centre, missing } = plane.summary[state.quantity][state.moment];
      const what = quantity.better === "lower" ? "lowest" : "highest";
      const parts = [`Step ${step}, ${quantity.label}: ${readable(centre)} at the checkpoint (●)`];
      if (best) {
        const where = `${readable(best.x)}, ${readable(best.y)}`;
        parts.push(`${what} on the grid ${readable(best.value)} (◆) at ${where}`);
      }
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
        const current = m === state.moment ? { "aria-current": "true" } : {};
        return makeElement("tr", current, ...cells.map((c) => makeElement("td", {}, String(c))));
      }));
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
