// What is open, in which mode the page is, and how both are drawn in the window.

import { $, show } from './dom.js';
import { Painter } from './draw.js';
import { Tools } from './tools.js';
import { View } from './view.js';

export const stage = $('stage');
export const view = new View();
export const tools = new Tools();
const painter = new Painter($('image-canvas'), $('mask-canvas'));

export const state = {
  picture: null, // {id, names, width, height, transparent, bitmap, ...}, as the server describes it
  mask: null,
  result: null, // {job, bitmap, box}
  split: 0.5, // where before ends and after begins, of the stage's width
  space: false, // whether that key is down
};

let hovered = null; // the pointer's place
let waiting = { image: false, mask: false }; // what the next frame draws

/** The mode: empty, paint, busy or compare. */
export const mode = () => document.body.dataset.mode;

export function setMode(name) {
  document.body.dataset.mode = name;
  layOut();
}

export function redraw(what = 'all') {
  if (!waiting.image && !waiting.mask) requestAnimationFrame(draw);
  if (what !== 'mask') waiting.image = true;
  waiting.mask = true;
}

function draw() {
  const x = state.split * stage.clientWidth;
  if (waiting.image) painter.drawImage(state.picture, view, state.result, x);
  const painted = mode() === 'paint' || mode() === 'busy' ? state.mask : null;
  painter.drawMask(painted, view, tools.outline);
  waiting = { image: false, mask: false };
  $('zoom-value').textContent = `${Math.round(view.scale * 100)} %`;
  $('compare').style.transform = `translateX(${Math.round(x)}px)`;
  $('compare').setAttribute('aria-valuenow', Math.round(state.split * 100));
  placeCursor();
}

/** Fit everything to the window, and leave room for the panels that cover the stage. */
export function layOut() {
  const boxOf = (id) => $(id).getBoundingClientRect();
  const [outer, dock, bar] = [stage.getBoundingClientRect(), boxOf('dock'), boxOf('tools')];
  const margins = { left: 16, top: 16, right: 16, bottom: 16 };
  if (bar.height > bar.width) margins.left += bar.right - outer.left;
  if (dock.height) margins.bottom += Math.max(0, outer.bottom - dock.top);
  painter.resize(stage.clientWidth, stage.clientHeight);
  view.resize(stage.clientWidth, stage.clientHeight, margins);
  redraw();
}

/** Show the brush's size at the pointer. */
export function placeCursor() {
  const drawing = mode() === 'paint' && !state.space && tools.tool !== 'hand';
  stage.dataset.pointer = drawing ? 'draw' : 'hand';
  const visible = Boolean(hovered) && drawing && tools.isRound;
  show($('cursor'), visible);
  if (!visible) return;
  const size = Math.max(3, tools.size * view.scale);
  Object.assign($('cursor').style, {
    width: `${size}px`,
    height: `${size}px`,
    transform: `translate(${hovered[0] - size / 2}px, ${hovered[1] - size / 2}px)`,
  });
  $('cursor').dataset.tool = tools.tool;
}

export function hover(x, y) {
  hovered = x === null ? null : [x, y];
  placeCursor();
}

export function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
  if (!state.picture) return;
  view.zoom(factor, x, y);
  redraw();
}

export function pan(dx, dy) {
  if (!state.picture) return;
  view.pan(dx, dy);
  redraw();
}

export function fit() {
  if (!state.picture) return;
  view.fit();
  redraw();
}

export function moveSplit(to) {
  state.split = Math.min(1, Math.max(0, to));
  redraw();
}
