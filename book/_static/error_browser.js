/* The error browser: every <figure class="error-browser"> shows the page's crops (script.errors-data, made by
   helpers.error_maps, format 1): truth, score and errors of any two objectives at the same place. */
/* global fillMenu, labelledControl, makeElement, makeMenus */
"use strict";

(() => {
  const FORMAT = 1;
  const SIDE = 288; // pixels of a picture's longer side on the page
  const OUTLINE = [230, 159, 0];
  const FALSE_POSITIVE = [213, 94, 0];
  const FALSE_NEGATIVE = [0, 114, 178];
  const UNKNOWN = [153, 153, 153]; // flat: the image is not seen where nobody knows
  const COLOURS = { 2: FALSE_POSITIVE, 3: FALSE_NEGATIVE, 4: UNKNOWN };
  const BARS = [50, 100, 200, 500, 1000, 2000, 5000]; // nm

  /* The greys of a PNG in base64. */
  async function greys(png, [height, width]) {
    const image = new Image();
    image.src = `data:image/png;base64,${png}`;
    await image.decode();
    const canvas = makeElement("canvas", { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, width, height).data.filter((_, k) => k % 4 === 0);
  }

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  class Browser {
    constructor(figure, parts) {
      for (const { format } of parts) {
        if (format !== FORMAT) throw new Error(`crops of format ${format}; expected ${FORMAT}`);
      }
      this.figure = figure;
      this.places = parts.flatMap((part) =>
        Object.entries(part.classes).flatMap(([name, crops]) => crops.map((crop) => ({ part, name, crop }))));
      this.state = { place: 0, left: "", right: "" };
      this.drawn = Promise.resolve();
      this.build();
      this.choosePlace(0);
    }

    build() {
      this.choices = makeMenus(["place", "left", "right"], (name, value) => {
        if (name === "place") this.choosePlace(Number(value));
        else {
          this.state[name] = value;
          this.draw();
        }
      });
      const swap = () => {
        [this.state.left, this.state.right] = [this.state.right, this.state.left];
        this.choices.left.value = this.state.left;
        this.choices.right.value = this.state.right;
        this.draw();
      };
      this.pictures = makeElement("div", { class: "errors-pictures" });
      this.said = makeElement("p", { class: "results-said", "aria-live": "polite" });
      const key = (colour, text) =>
        makeElement("span", {}, makeElement("i", { style: `background: rgb(${colour.join(" ")})`, "aria-hidden": "true" }), text);
      this.figure.prepend(
        makeElement(
          "div", { class: "results-controls" },
          labelledControl("crop", this.choices.place), labelledControl("above", this.choices.left),
          labelledControl("below", this.choices.right), makeElement("button", { type: "button", onclick: swap }, "swap"),
        ),
        makeElement(
          "p", { class: "errors-key" }, key(OUTLINE, "truth, outlined"), key(FALSE_POSITIVE, "false positive"),
          key(FALSE_NEGATIVE, "false negative"), key(UNKNOWN, "not annotated"),
        ),
        this.pictures, this.said,
      );
      this.figure.classList.add("results-ready");
      const text = ({ part, name, crop }) => `${name}, ${this.where(crop)} (${part.title})`;
      fillMenu(this.choices.place, this.places.map((place, k) => [k, text(place)]), 0);
    }

    where(crop) {
      return crop.section === null ? crop.image : `${crop.image}, section ${crop.section}`;
    }

    /* Another place keeps the two objectives where it has them. */
    choosePlace(index) {
      const { state } = this;
      state.place = index;
      const names = this.places[index].crop.objectives.map((o) => o.name);
      if (!names.includes(state.left)) [state.left] = names;
      if (!names.includes(state.right)) state.right = names.find((n) => n !== state.left) || names[0];
      for (const side of ["left", "right"]) fillMenu(this.choices[side], names, state[side]);
      this.draw();
    }

    draw() {
      const asked = { ...this.state };
      this.drawn = this.paint(asked).then(([tiles, text]) => {
        if (JSON.stringify(asked) !== JSON.stringify(this.state)) return; // another was chosen meanwhile
        this.pictures.replaceChildren(...tiles);
        this.said.textContent = text;
      });
    }

    async paint(asked) {
      const { part, name, crop } = this.places[asked.place];
      const find = (wanted) => crop.objectives.find((o) => o.name === wanted);
      const [raw, truth] = await Promise.all([greys(crop.raw, crop.size), greys(crop.truth, crop.size)]);
      const image = (k) => [raw[k], raw[k], raw[k]];
      const pale = (k) => [0, 0, 0].fill(89 + 0.65 * raw[k]);
      const tiles = [
        [this.tile(crop, "image", image, null, true), this.tile(crop, "truth, outlined", image, truth)],
      ];
      for (const objective of [find(asked.left), find(asked.right)]) {
        const [score, outcome] = await Promise.all([greys(objective.score, crop.size), greys(objective.outcome, crop.size)]);
        const coloured = (k) => COLOURS[outcome[k]] || pale(k);
        tiles.push([
          this.tile(crop, `${objective.name}: score`, (k) => [score[k], score[k], score[k]], truth),
          this.tile(crop, `${objective.name}: ${percent(objective.wrong)} wrong`, coloured, null),
        ]);
      }
      const [left, right] = [find(asked.left), find(asked.right)];
      const text =
        `${name} in ${this.where(crop)}: ${left.name} is wrong on ${percent(left.wrong)} of this crop, ${right.name} on ` +
        `${percent(right.wrong)}; all objectives on ${percent(crop.wrong)}, on average. A score's grey goes from its least ` +
        `to its greatest value here. ${part.described}`;
      return [tiles.map((pair) => makeElement("div", { class: "errors-pair" }, ...pair)), text];
    }

    /* A picture of the crop: a colour for each pixel, the outline of a mask over it, a scale bar. */
    tile(crop, text, colour, outlined, bar = false) {
      const [height, width] = crop.size;
      const zoom = Math.max(1, Math.floor(SIDE / Math.max(height, width)));
      const canvas = makeElement("canvas", { width: width * zoom, height: height * zoom, role: "img", "aria-label": text });
      const context = canvas.getContext("2d", { willReadFrequently: true }); // small: no GPU is of use
      const small = new ImageData(width, height);
      for (let k = 0; k < width * height; k += 1) small.data.set([...colour(k), 255], 4 * k);
      const aside = makeElement("canvas", { width, height });
      aside.getContext("2d").putImageData(small, 0, 0);
      context.imageSmoothingEnabled = false;
      context.drawImage(aside, 0, 0, width * zoom, height * zoom);
      if (outlined) {
        context.fillStyle = `rgb(${OUTLINE.join(" ")})`;
        const on = (y, x) => outlined[y * width + x] > 0;
        for (let y = 0; y < height; y += 1) {
          for (let x = 0; x < width; x += 1) {
            if (x && on(y, x) !== on(y, x - 1)) context.fillRect(x * zoom - 1, y * zoom, 2, zoom);
            if (y && on(y, x) !== on(y - 1, x)) context.fillRect(x * zoom, y * zoom - 1, zoom, 2);
          }
        }
      }
      if (bar && crop.spacing_nm) {
        const wanted = 0.3 * width * crop.spacing_nm;
        const length = BARS.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
        const label = length >= 1000 ? `${length / 1000} µm` : `${length} nm`;
        const [x, y] = [0.05 * canvas.width, 0.93 * canvas.height];
        context.lineWidth = 3;
        context.strokeStyle = "#000";
        context.fillStyle = "#fff";
        context.strokeRect(x, y, (length / crop.spacing_nm) * zoom, 4);
        context.fillRect(x, y, (length / crop.spacing_nm) * zoom, 4);
        context.font = "13px system-ui, sans-serif";
        context.strokeText(label, x, y - 6);
        context.fillText(label, x, y - 6);
      }
      return makeElement("figure", {}, canvas, makeElement("figcaption", {}, text));
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const data = document.querySelector("script.errors-data");
    if (!data) return;
    const parts = JSON.parse(data.textContent);
    if (!parts.length) return; // what stands there without a script stays
    for (const figure of document.querySelectorAll("figure.error-browser")) figure.errorBrowser = new Browser(figure, parts);
  });
})();
