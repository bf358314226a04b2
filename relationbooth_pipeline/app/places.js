// The places of the objects: boxes drawn, moved, resized, and masks painted. Runs once per page (gr.HTML's js_on_load).
//
// `props.value` is one entry per object slot: {label, present, box: [x0, y0, x1, y1] | null, mask: data URL | null}.
// It is assigned only when a gesture ends, as an assignment draws the template anew; listeners therefore hang on
// `element`, which stays. Labels are the user's text and enter by `textContent` alone.
const MASK_SIDE = 64, SMALLEST = 0.03, STEP = 0.01;
let selected = 0, tool = 'box', drag = null, brush = null;
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));
const rounded = box => box.map(v => Math.round(v * 1000) / 1000);
const entries = () => JSON.parse(JSON.stringify(props.value || []));
const board = () => element.querySelector('.rb-board');
const boxOf = i => element.querySelector(`.rb-box[data-i="${i}"]`);
const nameOf = i => (props.value[i]?.label || '').trim() || `object ${i + 1}`;

function commit(list, focus) {
  props.value = list;
  trigger('input');
  setTimeout(() => {  // after the template was drawn
    refresh();
    if (focus !== undefined) boxOf(focus)?.focus();
  }, 0);
}

function select(i) {
  selected = i;
  element.querySelectorAll('.rb-chip').forEach(chip => chip.setAttribute('aria-pressed', +chip.dataset.i === i));
  element.querySelectorAll('.rb-box').forEach(box => box.classList.toggle('rb-selected', +box.dataset.i === i));
}

function at(event) {
  const area = board().getBoundingClientRect();
  return [clamp((event.clientX - area.left) / area.width, 0, 1), clamp((event.clientY - area.top) / area.height, 0, 1)];
}

function place(node, box) {
  const [left, top, width, height] = [box[0], box[1], box[2] - box[0], box[3] - box[1]].map(v => `${v * 100}%`);
  Object.assign(node.style, {left, top, width, height});
}

function moved(box, dx, dy) {
  dx = clamp(dx, -box[0], 1 - box[2]);
  dy = clamp(dy, -box[1], 1 - box[3]);
  return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
}

function resized(box, corner, x, y) {
  const keptX = corner.includes('w') ? box[2] : box[0], keptY = corner.includes('n') ? box[3] : box[1];
  return [Math.min(keptX, x), Math.min(keptY, y), Math.max(keptX, x), Math.max(keptY, y)];
}

function stroke(event) {
  const pen = brush.getContext('2d'), to = at(event).map(v => v * MASK_SIDE);
  pen.globalCompositeOperation = tool === 'erase' ? 'destination-out' : 'source-over';
  pen.strokeStyle = getComputedStyle(brush).getPropertyValue('--color');
  Object.assign(pen, {lineWidth: MASK_SIDE / 8, lineCap: 'round'});
  pen.beginPath();
  pen.moveTo(...(drag.last || to));  // a quick hand sends few points: a line joins them
  pen.lineTo(...to);
  pen.stroke();
  drag.last = to;
}

// What is painted, in one colour: a mask is white, on the page it has its object's colour.
function filled(source, color) {
  const copy = Object.assign(document.createElement('canvas'), {width: MASK_SIDE, height: MASK_SIDE});
  const pen = copy.getContext('2d');
  pen.drawImage(source, 0, 0, MASK_SIDE, MASK_SIDE);
  pen.globalCompositeOperation = 'source-in';
  pen.fillStyle = color;
  pen.fillRect(0, 0, MASK_SIDE, MASK_SIDE);
  return copy;
}

element.addEventListener('pointerdown', event => {
  if (!event.target.closest('.rb-board') || !props.value?.[selected]?.present) return;
  event.preventDefault();
  const [x, y] = at(event), list = entries();
  if (tool !== 'box') {
    brush = element.querySelector(`.rb-mask[data-i="${selected}"]`);
    drag = {mode: 'paint'};
    stroke(event);
  } else {
    const handle = event.target.closest('.rb-handle'), box = event.target.closest('.rb-box');
    const own = list[selected].box, inOwn = own && x >= own[0] && x <= own[2] && y >= own[1] && y <= own[3];
    if (handle) drag = {mode: 'resize', i: +box.dataset.i, corner: handle.dataset.corner};
    else if (!own) drag = {mode: 'draw', i: selected};  // also where others overlap: the chip says whose box it is
    else if (inOwn) drag = {mode: 'move', i: selected};
    else if (box) drag = {mode: 'move', i: +box.dataset.i};
    else drag = {mode: 'draw', i: selected};
    select(drag.i);
    Object.assign(drag, {x, y, from: list[drag.i].box || [x, y, x, y]});
    drag.now = drag.mode === 'draw' ? [x, y, x, y] : drag.from;
  }
  board().setPointerCapture?.(event.pointerId);
});

element.addEventListener('pointermove', event => {
  if (!drag) return;
  if (drag.mode === 'paint') return stroke(event);
  const [x, y] = at(event);
  if (drag.mode === 'move') drag.now = moved(drag.from, x - drag.x, y - drag.y);
  else if (drag.mode === 'resize') drag.now = resized(drag.from, drag.corner, x, y);
  else drag.now = resized([drag.x, drag.y, drag.x, drag.y], 'se', x, y);
  if (drag.mode === 'draw') drag.now = [Math.min(drag.x, x), Math.min(drag.y, y), Math.max(drag.x, x), Math.max(drag.y, y)];
  const node = boxOf(drag.i) || element.querySelector('.rb-ghost');
  node.style.setProperty('--color', `var(--rb-color-${drag.i % 8})`);
  node.hidden = false;
  place(node, drag.now);
});

function release() {
  if (!drag) return;
  const list = entries(), {mode, i, now} = drag;
  drag = null;
  if (mode === 'paint') {
    const painted = brush.getContext('2d').getImageData(0, 0, brush.width, brush.height).data.some((v, i) => i % 4 === 3 && v > 127);
    list[selected].mask = painted ? filled(brush, '#fff').toDataURL('image/png') : null;
    return commit(list);
  }
  element.querySelector('.rb-ghost').hidden = true;
  if (now[2] - now[0] < SMALLEST || now[3] - now[1] < SMALLEST) return refresh();  // a click, not a box
  list[i].box = rounded(now);
  commit(list, i);
}
element.addEventListener('pointerup', release);
element.addEventListener('pointercancel', release);

// Tools and chips. A drawing of the template replaces the buttons, and a tap that began on an old one has no click: so a
// pointer acts when it leaves the same button that it pressed, by name, and clicks count from keyboards and aids alone.
let pressed = null;
const buttonName = node => node && (node.dataset.tool ?? `chip ${node.dataset.i}`);
const buttonOf = node => node?.closest('.rb-tool, .rb-chip');

function press(button, byKeyboard) {
  if (button.dataset.tool === 'clear') {
    const list = entries();
    if (list[selected]) Object.assign(list[selected], {box: null, mask: null});
    return commit(list);
  }
  if (button.dataset.tool) {
    tool = button.dataset.tool;
    return refresh();
  }
  const i = +button.dataset.i, list = entries();
  select(i);
  if (byKeyboard && !list[i].box) {  // a box to move and resize with the arrow keys
    list[i].box = [0.3, 0.3, 0.7, 0.7];
    commit(list, i);
  } else boxOf(i)?.focus();
}
element.addEventListener('pointerdown', event => { pressed = buttonName(buttonOf(event.target)); });
element.addEventListener('pointerup', event => {
  const button = buttonOf(document.elementFromPoint(event.clientX, event.clientY));
  if (button && element.contains(button) && buttonName(button) === pressed) press(button, false);
  pressed = null;
});
element.addEventListener('click', event => {
  const button = buttonOf(event.target);
  if (button && event.detail === 0) press(button, true);
});

element.addEventListener('keydown', event => {
  const node = event.target.closest('.rb-box');
  if (!node) return;
  const [dx, dy] = {ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP]}[event.key] || [];
  const list = entries(), i = +node.dataset.i, box = list[i].box;
  if (event.key === 'Delete' || event.key === 'Backspace') list[i].box = null;
  else if (dx === undefined) return;
  else if (event.shiftKey) {
    list[i].box = rounded([box[0], box[1], clamp(box[2] + dx, box[0] + SMALLEST, 1), clamp(box[3] + dy, box[1] + SMALLEST, 1)]);
  } else list[i].box = rounded(moved(box, dx, dy));
  event.preventDefault();
  commit(list, list[i].box ? i : undefined);
});
element.addEventListener('focusin', event => {
  const node = event.target.closest('.rb-box');
  if (node && !drag) select(+node.dataset.i);
});

// The template brings the nodes, this their labels, places and colours.
function refresh() {
  if (drag) return;
  observer.disconnect();
  const list = props.value || [];
  element.querySelectorAll('[data-i]').forEach(node => node.style.setProperty('--color', `var(--rb-color-${node.dataset.i % 8})`));
  element.querySelectorAll('.rb-chip').forEach(chip => {
    const i = +chip.dataset.i;
    chip.textContent = nameOf(i);
    chip.setAttribute('aria-label', `${nameOf(i)}: ${list[i].box ? 'go to its box' : 'place its box'}`);
  });
  element.querySelectorAll('.rb-box').forEach(node => {
    const i = +node.dataset.i, [x0, y0, x1, y1] = list[i].box.map(v => Math.round(v * 100));
    place(node, list[i].box);
    node.querySelector('.rb-label').textContent = nameOf(i);
    node.setAttribute('aria-label', `Box of ${nameOf(i)}, from ${x0} to ${x1} percent across, ${y0} to ${y1} percent down. ` +
      'Arrow keys move it, with shift they resize it, delete removes it.');
  });
  element.querySelectorAll('.rb-mask').forEach(node => {
    const mask = list[+node.dataset.i].mask, pen = node.getContext('2d');
    pen.clearRect(0, 0, node.width, node.height);
    if (!mask?.startsWith('data:image/png;base64,')) return;
    const image = new Image();
    image.onload = () => pen.drawImage(filled(image, getComputedStyle(node).getPropertyValue('--color')), 0, 0);
    image.src = mask;
  });
  element.querySelectorAll('.rb-tool').forEach(node => node.setAttribute('aria-pressed', node.dataset.tool === tool));
  board()?.classList.toggle('rb-painting', tool !== 'box');
  const waiting = list.findIndex(entry => entry.present && !entry.box);
  if (waiting >= 0 && (list[selected]?.box || !list[selected]?.present)) selected = waiting;
  if (!list[selected]?.present) selected = Math.max(0, list.findIndex(entry => entry.present));
  select(selected);
  const hint = element.querySelector('.rb-guide');
  if (hint) hint.textContent = hintFor(list);
  observer.observe(element, {childList: true, subtree: true, attributes: true});
}

function hintFor(list) {
  const present = list.filter(entry => entry.present), without = list.findIndex(entry => entry.present && !entry.box);
  if (!present.length) return 'Add a photo first.';
  if (tool !== 'box') return `${tool === 'paint' ? 'Paint' : 'Erase'} the place of ${nameOf(selected)}; it acts in place of its box.`;
  if (present.every(entry => !entry.box)) return 'No boxes: the places are found from the sentence. Drag to draw one.';
  return without >= 0 ? `Drag to draw the box of ${nameOf(without)}.` : 'Drag boxes to move them, their corners to resize them.';
}

const observer = new MutationObserver(refresh);  // the template is drawn anew after some changes that `watch` misses
watch('value', refresh);
refresh();
