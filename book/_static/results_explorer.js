/* The results explorer: every <figure class="results-explorer"> shows the page's data (script.results-data, made by
   helpers.explorer, format 1): choose data, class, metric and objectives; a plot of the runs, and a table that sorts. */
/* global ResultsPlot, fillMenu, labelledControl, makeElement, makeMenus */
"use strict";

(() => {
  const FORMAT = 1;

  const known = (values) => values.filter((v) => v !== null);
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b) / values.length : null);
  const number = (value, signed) =>
    value === null ? "–" : `${signed && value >= 0 ? "+" : ""}${value.toPrecision(4)}`.replace("-", "−");
  const plural = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
  const BETTER = { 1: "more is better", "-1": "less is better", 0: "neither more nor less is better" };

  class Explorer {
    constructor(figure, parts) {
      for (const { format } of parts) {
        if (format !== FORMAT) throw new Error(`results of format ${format}; expected ${FORMAT}`);
      }
      this.figure = figure;
      this.parts = parts;
      this.state = { part: 0, class: "", metric: "", reference: "", off: new Set(), sort: "mean", descending: true };
      this.build();
      this.choosePart(0);
    }

    get part() {
      return this.parts[this.state.part];
    }

    get metric() {
      return this.part.metrics.find((m) => m.column === this.state.metric);
    }

    build() {
      this.choices = makeMenus(["part", "class", "metric", "reference"], (name, value) => {
        if (name === "part") this.choosePart(Number(value));
        else {
          this.state[name] = value;
          if (name === "metric") this.sortAnew();
          this.draw();
        }
      });
      this.objectives = makeElement("fieldset", { class: "results-objectives" });
      this.plot = makeElement("div", { class: "results-plot", tabindex: 0, role: "group", "aria-label": "plot" });
      this.said = makeElement("p", { class: "results-said", "aria-live": "polite" });
      this.head = makeElement("tr");
      this.body = makeElement("tbody");
      const table = makeElement("table", {}, makeElement("caption", {}, ""), makeElement("thead", {}, this.head), this.body);
      this.caption = table.querySelector("caption");
      this.figure.prepend(
        makeElement(
          "div", { class: "results-controls" },
          labelledControl("data", this.choices.part), labelledControl("class", this.choices.class),
          labelledControl("metric", this.choices.metric), labelledControl("compared with", this.choices.reference),
        ),
        this.objectives, this.plot, this.said,
        makeElement("div", { class: "results-table", tabindex: 0, role: "group", "aria-label": "table" }, table),
      );
      this.figure.classList.add("results-ready");
      fillMenu(this.choices.part, this.parts.map((p, k) => [k, p.title]), 0);
    }

    /* Another part keeps what it shares with the last: class, metric and reference by their names. */
    choosePart(index) {
      const { state } = this;
      state.part = index;
      const kept = (value, all, other) => (all.includes(value) ? value : all.includes(other) ? other : all[0]);
      const names = this.part.objectives.map((o) => o.name);
      state.class = kept(state.class, this.part.classes);
      state.metric = kept(state.metric, this.part.metrics.map((m) => m.column), "iou_tuned");
      state.reference = kept(state.reference, names, "bce");
      state.off = new Set();
      this.sortAnew();
      fillMenu(this.choices.class, this.part.classes, state.class);
      fillMenu(this.choices.metric, this.part.metrics.map((m) => [m.column, m.label]), state.metric);
      fillMenu(this.choices.reference, names, state.reference);
      this.objectives.replaceChildren(
        makeElement("legend", {}, "objectives"),
        ...names.map((name) => {
          const change = (event) => {
            if (event.target.checked) state.off.delete(name);
            else state.off.add(name);
            this.draw();
          };
          return makeElement("label", {}, makeElement("input", { type: "checkbox", value: name, checked: true, onchange: change }), name);
        }),
      );
      this.draw();
    }

    /* The best first; names stay in their order. */
    sortAnew() {
      if (this.state.sort !== "name") this.state.descending = this.metric.better !== -1;
    }

    /* One row for each objective that is on. */
    rows() {
      const { part, state } = this;
      const values = part.values[state.class][state.metric];
      const against = values[state.reference];
      const undefinedOf = part.undefined[state.class]?.[state.metric] ?? {};
      return part.objectives.filter((o) => !state.off.has(o.name)).map((objective) => {
        const mine = values[objective.name];
        const there = known(mine);
        // Where some images have no value, the two means are over different ones: these differences are over those of both.
        const paired = part.paired?.[state.class]?.[state.metric]?.[objective.name]?.[state.reference];
        const differences = objective.name === state.reference ? []
          : known(paired ?? mine.map((v, i) => (v === null || against[i] === null ? null : v - against[i])));
        const { better } = this.metric;
        return {
          ...objective, values: mine, n: there.length, mean: mean(there),
          least: there.length ? Math.min(...there) : null, greatest: there.length ? Math.max(...there) : null,
          undefined: undefinedOf[objective.name]?.[0] ?? 0, of: undefinedOf[objective.name]?.[1] ?? 0,
          difference: mean(differences), pairs: differences.length,
          wins: better && differences.length ? differences.filter((d) => d * better > 0).length : null,
        };
      });
    }

    draw() {
      const { part, state, metric } = this;
      const rows = this.rows();
      const text = `${metric.label}, ${state.class}`;
      const alt = `${text}: ${rows.map((r) => `${r.name} mean ${number(r.mean)} of ${plural(r.n, "run")}`).join("; ")}.`;
      this.plot.replaceChildren(
        rows.length ? ResultsPlot(rows, metric.label, alt) : makeElement("p", {}, "No objective is chosen: tick one above."),
      );
      const seeds = plural(new Set(part.units.map((u) => u[1])).size, "seed");
      const splits = new Set(part.units.map((u) => u[0])).size;
      this.said.textContent =
        `${text}: ${BETTER[metric.better]}. A dot is a run, its mean over those of ${plural(part.n_images[state.class], "image")} where it is defined` +
        `${this.leftOut(rows)}; lines join runs of the same seed${splits > 1 ? " and split" : ""} (${seeds}${splits > 1 ? `, ${splits} splits` : ""}). ` +
        part.described;
      this.drawTable(rows);
    }

    /* How many images of runs have no value, and no part in the means. */
    leftOut(rows) {
      const [left, all] = ["undefined", "of"].map((key) => rows.reduce((sum, row) => sum + row[key], 0));
      return left ? ` (${left} of ${all} images of runs are left out)` : "";
    }

    drawTable(rows) {
      const { state, metric } = this;
      const columns = [
        ["name", "objective", (r) => r.name], ["n", "runs", (r) => r.n], ["mean", "mean", (r) => number(r.mean)],
        ["least", "least", (r) => number(r.least)], ["greatest", "greatest", (r) => number(r.greatest)],
        ["difference", `difference to ${state.reference}`, (r) => number(r.difference, true)],
        ["wins", "better in", (r) => (r.wins === null ? "–" : `${r.wins} of ${r.pairs}`)],
        ["undefined", "images left out", (r) => (r.undefined ? `${r.undefined} of ${r.of}` : "0")],
      ];
      this.head.replaceChildren(...columns.map(([key, title]) => {
        const sorted = key === state.sort ? (state.descending ? "descending" : "ascending") : "none";
        const onclick = () => {
          state.descending = key === state.sort ? !state.descending : key !== "name";
          state.sort = key;
          this.draw();
          [...this.head.querySelectorAll("button")].find((b) => b.dataset.key === key).focus();
        };
        return makeElement("th", { scope: "col", "aria-sort": sorted }, makeElement("button", { type: "button", "data-key": key, onclick }, title));
      }));
      const order = (a, b) => {
        const [p, q] = [a[state.sort], b[state.sort]];
        if (p === null || q === null) return (p === null) - (q === null); // what is not known is last either way
        return (p < q ? -1 : p > q ? 1 : 0) * (state.descending ? -1 : 1);
      };
      this.body.replaceChildren(...[...rows].sort(order).map((row) =>
        makeElement("tr", {}, ...columns.map(([key, , show]) =>
          key === "name" ? makeElement("th", { scope: "row" }, show(row)) : makeElement("td", {}, String(show(row)))))));
      this.caption.textContent = `${metric.label}, ${state.class}: means over runs, no test`;
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const data = document.querySelector("script.results-data");
    if (!data) return;
    const parts = JSON.parse(data.textContent);
    if (!parts.length) return; // what stands there without a script stays
    for (const figure of document.querySelectorAll("figure.results-explorer")) new Explorer(figure, parts);
  });
})();
