"use strict";
// One candidate at a time is `now`: what the server told of it, with the reviewer's changes, until a decision is sent.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.01; // share of the picture's side that an arrow key moves
const find = (id) => document.getElementById(id);
const copy = (value) => JSON.parse(JSON.stringify(value));
const clip = (value, low, high) => Math.min(Math.max(value, low), high);
let all = [], now = null, chosen = null, held = null, drag = null;

function made(kind, attributes = {}, text = null, namespace = null) {
  const element = namespace ? document.createElementNS(namespace, kind) : document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text; // never as HTML
  return element;
}
const drawn = (kind, attributes) => made(kind, attributes, null, SVG);
const color = (i) => `var(--color-${i % 6})`;

function isShown(entry) {
  const which = find("which").value;
  return which === "all" || which === entry.decision || (which === "undecided" && !entry.decision)
    || (which === "passed" && entry.accepted) || (which === "refused" && !entry.accepted);
}

function showList() {
  find("list").replaceChildren(...all.filter(isShown).map((entry) => {
    const verdict = entry.accepted ? "passed" : "refused by the filters";
    const said = entry.decision ?? (entry.is_outdated ? "look again" : verdict);
    const button = made("button", { type: "button", class: entry.decision ?? "", "aria-current": entry.id === now?.id });
    button.append(made("img", { src: `pictures/${entry.target.digest}.png`, alt: "", loading: "lazy" }),
      made("span", {}, `${entry.id}: ${said}`));
    button.addEventListener("click", () => open(entry.id));
    return button;
  }));
  const count = (word) => all.filter((entry) => entry.decision === word).length;
  find("counts").textContent = `${count("accept")} accepted, ${count("reject")} rejected, ${count(null)} undecided`;
}

function open(id) {
  now = copy(all.find((entry) => entry.id === id) ?? null);
  chosen = held = null;
  find("desk").hidden = now === null;
  if (now === null) return;
  find("title").textContent = now.id;
  find("verdict").textContent = now.accepted ? "The filters accept it." : "The filters refuse it.";
  find("verdict").className = now.accepted ? "good" : "bad";
  find("outdated").hidden = !now.is_outdated;
  find("predicate").textContent = now.predicate;
  find("prompt").value = now.prompt;
  find("phrases").replaceChildren(...now.phrases.map((phrase, i) => {
    const label = made("label", {}, `Noun of object ${i + 1} `);
    label.append(made("input", { "data-phrase": i, autocomplete: "off" }));
    label.lastChild.value = phrase;
    return label;
  }));
  find("exchange").hidden = now.phrases.length !== 2;
  find("fault").textContent = "";
  find("reasons").replaceChildren(...now.reasons.map((reason) => made("li", { class: "bad" }, reason.sentence)));
  if (!now.reasons.length) find("reasons").append(made("li", {}, "nothing to say against it"));
  const rows = Object.entries(now.figures).flatMap(([rule, figures]) => Object.entries(figures).map(([of, figure]) => {
    const row = made("tr"), object = of === "target" ? "target" : now.phrases[Number(of)] ?? of;
    const told = typeof figure === "number" ? String(Math.round(figure * 1000) / 1000) : String(figure ?? "–");
    row.append(made("td", {}, rule), made("td", {}, object), made("td", {}, told));
    return row;
  }));
  find("figures").tBodies[0].replaceChildren(...rows);
  find("objects").replaceChildren(...now.objects.map((picture, i) => {
    const figure = made("figure");
    const svg = drawn("svg", { "data-object": i, role: "img" });
    figure.append(svg, made("figcaption", {}, `Image prompt ${i + 1}: ${now.phrases[i]}`));
    return figure;
  }));
  showList();
  paint();
}

function paint() {
  find("stale").hidden = !now.is_stale && !now.edited.boxes;
  find("target").parentElement.classList.toggle("stale", now.is_stale || now.edited.boxes);
  paintPicture(find("target"), now.target, "target", now.phrases.map((_, i) => i));
  for (const svg of find("objects").querySelectorAll("svg")) {
    const i = Number(svg.dataset.object);
    paintPicture(svg, now.objects[i], "objects", [i]);
  }
}

function paintPicture(svg, picture, part, objects) {
  const { width, height } = picture, unit = Math.max(width, height) / 100;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", part === "target" ? `Target: ${now.prompt}` : `Image prompt: ${now.phrases[objects[0]]}`);
  svg.replaceChildren(drawn("image", { href: `pictures/${picture.digest}.png`, width, height }));
  for (const i of objects) {
    if (part === "target" && now.masks[i]) {
      const id = `mask-${i}`, mask = drawn("mask", { id });
      mask.append(drawn("image", { href: `pictures/${now.masks[i]}.png`, width, height }));
      svg.append(mask, drawn("rect", { width, height, class: "mask", fill: color(i), mask: `url(#${id})` }));
    }
    const box = (part === "target" ? now.boxes : now.boxes_alone)[i];
    if (box) paintBox(svg, box, i, width, height, unit, part === "target");
    (now.keypoints[part][i] ?? []).forEach(([x, y, seen], k) => {
      if (!seen && !(held && held.part === part && held.i === i && held.k === k)) return;
      const isHeld = held && held.part === part && held.i === i && held.k === k;
      const point = drawn("circle", { cx: x * width, cy: y * height, r: unit, fill: color(i), "data-part": part, "data-i": i,
        "data-k": k, class: `point${seen ? "" : " unseen"}${isHeld ? " held" : ""}` });
      point.append(made("title", {}, `${now.phrases[i]}, keypoint ${k}`, SVG));
      svg.append(point);
    });
  }
}

function paintBox(svg, box, i, width, height, unit, isMovable) {
  const [x0, y0, x1, y1] = box;
  const place = { x: x0 * width, y: y0 * height, width: (x1 - x0) * width, height: (y1 - y0) * height };
  const frame = drawn("rect", { ...place, class: `box${chosen === i ? " chosen" : ""}`, stroke: color(i) });
  svg.append(frame);
  if (!isMovable) return frame.setAttribute("pointer-events", "none");
  frame.dataset.box = i;
  for (const [a, b] of [[0, 1], [2, 1], [0, 3], [2, 3]]) {
    svg.append(drawn("circle", { cx: box[a] * width, cy: box[b] * height, r: unit * 1.4, fill: color(i), class: "corner",
      "data-box": i, "data-x": a, "data-y": b }));
  }
}

function spot(svg, event) { // of the pointer, in [0, 1] of the picture
  const area = svg.getBoundingClientRect();
  return [clip((event.clientX - area.left) / area.width, 0, 1), clip((event.clientY - area.top) / area.height, 0, 1)];
}

function moveBox(i, dx, dy) {
  const box = now.boxes[i];
  dx = clip(dx, -box[0], 1 - box[2]);
  dy = clip(dy, -box[1], 1 - box[3]);
  now.boxes[i] = [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
  now.edited.boxes = true;
}

function ordered([x0, y0, x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

function pressed(event) {
  const svg = event.target.closest("svg"), { box, k, i, part, x, y } = event.target.dataset;
  if (!svg || !now) return;
  const at = spot(svg, event);
  if (k !== undefined) {
    held = { part, i: Number(i), k: Number(k) };
    drag = { svg, kind: "point" };
  } else if (box !== undefined) {
    chosen = Number(box);
    drag = { svg, kind: x === undefined ? "box" : "corner", x: Number(x), y: Number(y), at };
  } else if (svg.id === "target" && now.boxes.includes(null)) { // nobody found it: draw it
    chosen = now.boxes.indexOf(null);
    now.boxes[chosen] = [...at, ...at];
    drag = { svg, kind: "corner", x: 2, y: 3, at };
  } else return;
  svg.setPointerCapture(event.pointerId);
  event.preventDefault();
  paint();
}

function moved(event) {
  if (!drag) return;
  const at = spot(drag.svg, event);
  if (drag.kind === "point") {
    now.keypoints[held.part][held.i][held.k] = [...at, 1];
    now.edited.keypoints = true;
  } else if (drag.kind === "box") {
    moveBox(chosen, at[0] - drag.at[0], at[1] - drag.at[1]);
    drag.at = at;
  } else {
    now.boxes[chosen][drag.x] = at[0];
    now.boxes[chosen][drag.y] = at[1];
    now.edited.boxes = true;
  }
  paint();
}

function released() {
  if (!drag) return;
  drag = null;
  now.boxes = now.boxes.map((box) => box && ordered(box));
  if (chosen !== null && now.boxes[chosen] && (now.boxes[chosen][2] - now.boxes[chosen][0] < 0.01
    || now.boxes[chosen][3] - now.boxes[chosen][1] < 0.01)) now.boxes[chosen] = copy(all.find((e) => e.id === now.id).boxes[chosen]);
  paint();
}

function exchange() {
  if (!now || now.phrases.length !== 2) return;
  now.exchanged = !now.exchanged;
  now.boxes.reverse();
  now.masks.reverse();
  now.keypoints.target.reverse();
  paint();
}

async function decide(decision) {
  if (!now) return;
  const phrases = [...find("phrases").querySelectorAll("input")].map((input) => input.value.trim());
  const line = { candidate: now.id, decision, exchanged: now.exchanged, prompt: find("prompt").value.trim(), phrases,
    pictures: [now.target, ...now.objects].map((picture) => picture.digest) };
  if (now.edited.boxes) {
    if (now.boxes.includes(null)) {
      find("fault").textContent = "Draw every object's box, or undo the changes.";
      return;
    }
    line.boxes = now.boxes;
  }
  if (now.edited.keypoints) line.keypoints = now.keypoints;
  let answer, told;
  try {
    answer = await fetch("decisions", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(line) });
    told = await answer.json();
  } catch (error) {
    find("fault").textContent = `The decision did not arrive (${error.message}). Is the program still running?`;
    return;
  }
  if (!answer.ok) {
    find("fault").textContent = told.error;
    return;
  }
  const order = all.filter(isShown).map((entry) => entry.id), at = order.indexOf(now.id);
  all = all.map((entry) => (entry.id === told.id ? told : entry));
  open(order[at + 1] ?? told.id);
}

function step(by) {
  const order = all.filter(isShown).map((entry) => entry.id);
  const id = order[clip(order.indexOf(now?.id) + by, 0, order.length - 1)];
  if (id) open(id);
}

function nextPoint() {
  const i = chosen ?? 0;
  held = { part: "target", i, k: held && held.i === i ? (held.k + 1) % now.keypoints.target[i].length : 0 };
  paint();
}

function arrow(key, isShifted) {
  const dx = { ArrowLeft: -STEP, ArrowRight: STEP }[key] ?? 0, dy = { ArrowUp: -STEP, ArrowDown: STEP }[key] ?? 0;
  if (held) {
    const [x, y] = now.keypoints[held.part][held.i][held.k];
    now.keypoints[held.part][held.i][held.k] = [clip(x + dx, 0, 1), clip(y + dy, 0, 1), 1];
    now.edited.keypoints = true;
  } else if (chosen !== null && now.boxes[chosen]) {
    const [x0, y0, x1, y1] = now.boxes[chosen];
    if (isShifted) now.boxes[chosen] = [x0, y0, clip(x1 + dx, x0 + STEP, 1), clip(y1 + dy, y0 + STEP, 1)];
    else moveBox(chosen, dx, dy);
    now.edited.boxes = true;
  } else if (dx) return step(Math.sign(dx));
  paint();
}

function typed(event) {
  if (!now || event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key.startsWith("Arrow")) arrow(key, event.shiftKey);
  else if (key === "a") decide("accept");
  else if (key === "r") decide("reject");
  else if (key === "x") exchange();
  else if (key === "k") nextPoint();
  else if (key === "v" && held) toggle(held);
  else if (key === "Escape") { chosen = held = null; paint(); }
  else if (/^[1-9]$/.test(key) && Number(key) <= now.phrases.length) { chosen = Number(key) - 1; held = null; paint(); }
  else return;
  event.preventDefault();
}

function toggle({ part, i, k }) {
  now.keypoints[part][i][k][2] = now.keypoints[part][i][k][2] ? 0 : 1;
  now.edited.keypoints = true;
  paint();
}

function doubled(event) {
  const { part, i, k } = event.target.dataset;
  if (k !== undefined) toggle({ part, i: Number(i), k: Number(k) });
}

async function start() {
  all = await (await fetch("candidates.json")).json();
  open(all.find((entry) => !entry.decision)?.id ?? all[0].id);
}

document.addEventListener("pointerdown", pressed);
document.addEventListener("pointermove", moved);
document.addEventListener("pointerup", released);
document.addEventListener("dblclick", doubled);
document.addEventListener("keydown", typed);
find("which").addEventListener("change", showList);
find("words").addEventListener("submit", (event) => event.preventDefault());
find("accept").addEventListener("click", () => decide("accept"));
find("reject").addEventListener("click", () => decide("reject"));
find("exchange").addEventListener("click", exchange);
find("undo").addEventListener("click", () => open(now.id));
start();
