"use strict";
// Sortable tables, the before/after slider, and the worst and best faces. Text is only ever set as text.
const data = JSON.parse(document.getElementById("data").textContent);
const LR = "LR (nearest neighbour)", HR = "HR";
const get = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function options(select, names) {
  select.replaceChildren(...names.map((name, i) => new Option(name, String(i))));
}

// Tables: a cell's data-value is its number, "" for a cell without a value; cells of text have none.
function sortBy(table, column) {
  const header = table.tHead.rows[0].cells[column];
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => {
    const cell = row.cells[column];
    return { row, text: cell.textContent.trim(), value: cell.dataset.value };
  });
  const filled = rows.filter((r) => r.value !== "");
  const numeric = filled.every((r) => r.value !== undefined);
  const before = header.getAttribute("aria-sort");
  const order = before ? (before === "ascending" ? "descending" : "ascending") : numeric ? "descending" : "ascending";
  const compare = numeric
    ? (a, b) => Number(a.value) - Number(b.value) || 0
    : (a, b) => a.text.localeCompare(b.text, "en", { numeric: true });
  filled.sort((a, b) => (order === "ascending" ? compare(a, b) : compare(b, a)));
  body.append(...filled.map((r) => r.row), ...rows.filter((r) => r.value === "").map((r) => r.row));
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll(".wide > table:not(#grid)")) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    const button = make("button", { type: "button" }, cell.textContent);
    if (!cell.textContent) button.setAttribute("aria-label", "name");
    button.addEventListener("click", () => sortBy(table, column));
    cell.replaceChildren(button);
  });
}

// Before and after
const choices = [LR, ...data.labels, HR];
const state = { set: 0, face: 0, size: 0, left: 1, right: data.labels.length };

const face = () => data.sets[state.set].faces[state.face];
const size = () => face().sizes[state.size];
const scoreText = (psnr, ssim) => (psnr === null ? "\u2013" : `${psnr.toFixed(2)} dB / ${ssim.toFixed(4)}`);

function chosen(choice) {
  if (choice === 0) return [LR, ...size().lr];
  if (choice === choices.length - 1) return [HR, size().hr, null, null, ""];
  return [choices[choice], ...size().cells[choice - 1]];
}

function showSide(name, choice) {
  const [label, place, psnr, ssim, reason] = chosen(choice);
  const side = get(`${name}-side`), image = side.querySelector("img"), note = side.querySelector("p");
  note.hidden = place >= 0;
  image.hidden = place < 0;
  if (place >= 0) image.src = data.pictures[place];
  image.alt = `${label}, ${size().name}, ${face().id}`;
  note.textContent = `${label} failed: ${reason}`;
  const text = label === HR ? "the original" : place < 0 ? "failed" : scoreText(psnr, ssim);
  get(`${name}-score`).replaceChildren(make("b", {}, label), text);
}

const side = data.side;
async function pixels(place) {
  const image = new Image();
  image.src = data.pictures[place];
  await image.decode();
  const canvas = make("canvas", { width: side, height: side });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, side, side);
  return context.getImageData(0, 0, side, side).data;
}

const luma = (p, i) => (65.481 * p[i] + 128.553 * p[i + 1] + 24.966 * p[i + 2]) / 255;

let drawn = 0;
async function showErrors() {
  const mine = ++drawn, hr = await pixels(size().hr), limit = data.sets[state.set].limit;
  for (const name of ["left", "right"]) {
    const [label, place, , , reason] = chosen(state[name]), canvas = get(`${name}-error`);
    const sr = place < 0 ? null : await pixels(place);
    if (mine !== drawn) return;
    canvas.width = canvas.height = side;
    canvas.setAttribute("aria-label", `Error map of ${label}`);
    const caption = get(`${name}-mean`);
    caption.replaceChildren(make("b", {}, label), sr ? "" : `: ${reason}`);
    if (!sr) continue;
    const picture = new ImageData(side, side);
    let sum = 0;
    for (let i = 0; i < picture.data.length; i += 4) {
      const error = Math.abs(luma(sr, i) - luma(hr, i));
      sum += error;
      picture.data.set(data.colours[Math.min(63, Math.floor((error / limit) * 64))], i);
      picture.data[i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
    caption.append(`: mean error ${(sum / (side * side)).toFixed(2)}`);
  }
  get("limit").textContent = `${limit} and more`;
}

function show() {
  get("size").max = face().sizes.length - 1;
  state.size = Math.min(state.size, face().sizes.length - 1);
  get("px").textContent = size().name;
  get("size").setAttribute("aria-valuetext", size().name);
  get("left").value = state.left;
  get("right").value = state.right;
  get("size").value = state.size;
  showSide("left", state.left);
  showSide("right", state.right);
  showErrors();
}

function showGrid() {
  const head = make("tr", {}, ...["input", "LR", ...data.labels, HR].map((t) => make("th", { scope: "col" }, t)));
  const body = face().sizes.map((row, i) => {
    const best = Math.max(...row.cells.map((c) => (c[0] < 0 || c[1] === null ? -Infinity : c[1])));
    const picture = (place, alt) => make("img", { src: data.pictures[place], alt, width: side, height: side });
    const cells = row.cells.map(([place, psnr, ssim, reason], j) => {
      if (place < 0) return make("td", {}, make("span", { class: "reason" }, `failed: ${reason}`));
      const text = psnr === null ? "\u2013" : `${psnr.toFixed(2)} / ${ssim.toFixed(3)}`;
      const label = `Show ${data.labels[j]} at ${row.name} on the right of the slider`;
      const button = make("button", { type: "button", "aria-label": label }, picture(place, ""));
      button.addEventListener("click", () => {
        Object.assign(state, { size: i, right: j + 1 });
        show();
        get("frame").scrollIntoView({ block: "nearest" });
      });
      return make("td", {}, button, make("span", {}, psnr === best ? make("b", {}, text) : text));
    });
    return make(
      "tr", {}, make("th", { scope: "row" }, row.name),
      make("td", {}, picture(row.lr[0], `LR, ${row.name}`), make("span", {}, row.shape)),
      ...cells, make("td", {}, picture(row.hr, "HR"), make("span", {}, "HR")),
    );
  });
  get("grid").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

function showFaces() {
  const buttons = data.sets[state.set].faces.map((face, i) => {
    const image = make("img", { src: data.pictures[face.hr], alt: "" });
    const label = `Face ${i + 1}: ${face.id}`;
    const button = make("button", { type: "button", "aria-label": label, title: face.id }, image);
    button.setAttribute("aria-pressed", String(i === state.face));
    button.addEventListener("click", () => {
      state.face = i;
      [...get("faces").children].forEach((b, j) => b.setAttribute("aria-pressed", String(j === i)));
      show();
      showGrid();
    });
    return button;
  });
  get("faces").replaceChildren(...buttons);
}

function startSlider() {
  options(get("set"), data.sets.map((s) => s.name));
  for (const name of ["left", "right"]) {
    options(get(name), choices);
    get(name).addEventListener("change", (event) => { state[name] = Number(event.target.value); show(); });
  }
  get("set").addEventListener("change", (event) => {
    Object.assign(state, { set: Number(event.target.value), face: 0 });
    showFaces();
    show();
    showGrid();
  });
  get("size").addEventListener("input", (event) => { state.size = Number(event.target.value); show(); });
  const split = get("split");
  const move = () => {
    get("frame").style.setProperty("--split", `${split.value}%`);
    split.setAttribute("aria-valuetext", `${split.value} % left, ${100 - split.value} % right`);
  };
  split.addEventListener("input", move);
  move();
  get("bar").style.background = `linear-gradient(90deg, ${data.colours.map((c) => `rgb(${c})`).join(",")})`;
  state.size = Math.min(1, face().sizes.length - 1);
  if (data.labels.length === 1) state.left = 0;
  showFaces();
  show();
  showGrid();
}

// Worst and best faces
function card(face, label) {
  const pane = (name, place, reason) => make(
    "div", {}, place >= 0 ? make("img", { src: data.pictures[place], alt: `${name} of ${face.id}` })
      : make("span", { class: "reason" }, reason), name,
  );
  const [place, psnr, ssim, reason] = face.cell;
  const panes = [pane(`LR, ${face.name}`, face.lr)];
  if (face.other) panes.push(pane(data.bicubic, face.other[0], face.other[3]));
  panes.push(pane(label, place, reason), pane(HR, face.hr));
  const row = make("div", { class: face.other ? "row" : "row three" }, ...panes);
  const text = place < 0 ? "failed" : scoreText(psnr, ssim);
  const caption = make("figcaption", {}, make("b", {}, text));
  if (place >= 0 && face.other && psnr !== null && face.other[1] !== null) {
    const gain = psnr - face.other[1];
    caption.append(`, ${gain < 0 ? "\u2212" : "+"}${Math.abs(gain).toFixed(2)} dB to ${data.bicubic}`);
  }
  caption.append(make("br"), face.id);
  return make("figure", { class: "card" }, row, caption);
}

function startExtremes() {
  const set = get("extreme-set"), method = get("extreme-method");
  options(set, data.sets.map((s) => s.name));
  const labels = Object.keys(data.extremes[0]);
  options(method, labels);
  const last = data.labels[data.labels.length - 1];
  method.value = String(Math.max(0, labels.indexOf(last)));
  const change = () => {
    const label = labels[Number(method.value)], extremes = data.extremes[Number(set.value)][label];
    for (const name of ["worst", "best"]) {
      get(name).replaceChildren(...extremes[name].map((e) => card(e, label)));
      const at = [...new Set(extremes[name].map((e) => e.name))].join(", ");
      get(`${name}-title`).hidden = !extremes[name].length;
      get(`${name}-title`).textContent = `The ${extremes[name].length} ${name} of ${label}, at ${at}`;
    }
  };
  set.addEventListener("change", change);
  method.addEventListener("change", change);
  change();
}

for (const tool of document.querySelectorAll(".tool")) tool.hidden = false;
startSlider();
startExtremes();
