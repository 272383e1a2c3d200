// Paint the mask: tools, the menu of the mask, undo and redo.

import { $, on, remember, save, say, show } from './dom.js';
import { encodeMask } from './png.js';
import { Pointers } from './pointer.js';
import * as server from './server.js';
import { hover, mode, pan, placeCursor, redraw, stage, state, tools, view, zoom } from './stage.js';

/** Make one change that can be undone. */
export function change(action) {
  if (mode() !== 'paint') return;
  state.mask.begin();
  action(state.mask);
  state.mask.finish();
  changed();
}

function changed() {
  updateButtons();
  redraw('mask');
}

export function undo() {
  if (mode() !== 'paint') return;
  state.mask.undo();
  changed();
}

export function redo() {
  if (mode() !== 'paint') return;
  state.mask.redo();
  changed();
}

/** Add a mask that the server has read. */
export async function addMask(loading) {
  const { data, notes } = await loading;
  state.mask.begin();
  state.mask.add(data);
  state.mask.finish();
  changed();
  if (notes.length) say(notes.join('. '), 'note');
}

export const maskFile = () => encodeMask(state.mask.data, state.mask.width, state.mask.height);

export async function saveMask() {
  save(await maskFile(), `${state.picture.names.mask}.png`);
}

/** Grow the mask, or shrink it where sign is -1. */
export function grow(sign) {
  const text = $('grow-by').value;
  const by = Math.round(Number(text));
  if (by >= 1 && by <= 200) change((mask) => mask.grow(sign * by));
  else say(`grow by ${text || 'nothing'}: expected 1 to 200 pixels`);
}

export function updateButtons() {
  const { mask } = state;
  $('undo').disabled = !mask?.done.length;
  $('redo').disabled = !mask?.undone.length;
  for (const id of ['restore', 'grow', 'shrink', 'clear', 'save-mask']) {
    $(id).disabled = !mask || mask.isEmpty;
  }
}

export function setTool(name) {
  tools.tool = name;
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.setAttribute('aria-pressed', button.dataset.tool === name);
  }
  show($('size-field'), tools.isRound);
  redraw('mask');
}

export function setSize(size) {
  tools.setSize(size);
  $('size').value = tools.position;
  $('size-value').textContent = `${tools.size < 3 ? tools.size.toFixed(1) : tools.size} px`;
  placeCursor();
}

/** Make the brush larger or smaller, by a pixel at least. */
export function scaleSize(factor) {
  const size = tools.size * factor;
  const step = Math.sign(factor - 1);
  setSize(Math.abs(size - tools.size) < 1 ? tools.size + step : size);
}

function setUpPointers() {
  new Pointers(stage, {
    pans: () => state.space || tools.tool === 'hand' || mode() !== 'paint',
    begin(x, y, event) {
      tools.begin(state.mask, view.toImage(x, y), event.altKey);
      redraw('mask');
    },
    move(points) {
      for (const [x, y] of points) tools.move(state.mask, view.toImage(x, y), view.scale);
      redraw('mask');
    },
    end() {
      tools.end(state.mask);
      changed();
    },
    cancel() {
      tools.cancel(state.mask);
      redraw('mask');
    },
    pan,
    zoom,
    hover,
  });
}

function openMaskFile() {
  const [file] = $('mask-file').files;
  if (!file || mode() !== 'paint') return;
  remember(file.name);
  addMask(server.openMask(state.picture.id, file)).catch((error) => say(error.message));
}

export function setUp() {
  setUpPointers();
  for (const button of document.querySelectorAll('[data-tool]')) {
    button.addEventListener('click', () => setTool(button.dataset.tool));
  }
  on('more', 'click', () => {
    show($('mask-panel'), $('mask-panel').hidden);
    $('more').setAttribute('aria-expanded', !$('mask-panel').hidden);
  });
  on('size', 'input', () => setSize(tools.sizeAt(Number($('size').value))));
  on('subtract', 'change', () => (tools.subtract = $('subtract').checked));
  on('mask-file', 'change', openMaskFile);
  on('undo', 'click', undo);
  on('redo', 'click', redo);
  on('clear', 'click', () => change((mask) => mask.clear()));
  on('invert', 'click', () => change((mask) => mask.invert()));
  on('grow', 'click', () => grow(1));
  on('shrink', 'click', () => grow(-1));
  on('save-mask', 'click', saveMask);
  setTool('brush');
  updateButtons();
}
