// The page: an image, a mask that is painted over it, a restoration, and the result in its place.

import * as degradation from './degradation.js';
import { $, hush, on, say } from './dom.js';
import * as keys from './keys.js';
import * as opening from './opening.js';
import * as painting from './painting.js';
import * as restoring from './restoring.js';
import { fit, layOut, mode, placeCursor, stage, state, view, zoom } from './stage.js';

// What keys do; each is called with the value that stands in keys.js.
const ACTIONS = {
  tool(name) {
    if (mode() === 'compare') restoring.leave();
    if (mode() === 'paint') painting.setTool(name);
  },
  size: painting.scaleSize,
  undo: painting.undo,
  redo: painting.redo,
  grow: painting.grow,
  clear: () => painting.change((mask) => mask.clear()),
  invert: () => painting.change((mask) => mask.invert()),
  zoom: (factor) => zoom(factor),
  fit,
  full: () => zoom(1 / view.scale),
  restore: restoring.restore,
  flip: restoring.flip,
  back: restoring.leave,
  help: () => $('keys').showModal(),
  open: () => opening.ask('image-file'),
  save() {
    if (mode() === 'compare') restoring.saveImage();
    else if (mode() === 'paint') painting.saveMask();
  },
};

function setUpKeys() {
  keys.setUp((name, value) => ACTIONS[name](value), (down) => {
    state.space = down;
    placeCursor();
  });
  for (const [key, what] of keys.KEYS) {
    $('keys').querySelector('dl').append(
      Object.assign(document.createElement('dt'), { textContent: key }),
      Object.assign(document.createElement('dd'), { textContent: what }));
  }
  on('help', 'click', ACTIONS.help);
  on('keys-close', 'click', () => $('keys').close());
}

async function start() {
  for (const event of ['pointerdown', 'keydown', 'drop']) addEventListener(event, hush, true);
  painting.setUp();
  restoring.setUp();
  setUpKeys();
  on('zoom-in', 'click', () => zoom(1.25));
  on('zoom-out', 'click', () => zoom(0.8));
  on('zoom-fit', 'click', fit);
  degradation.setUp(layOut);
  for (const element of [stage, $('dock')]) new ResizeObserver(layOut).observe(element);
  try {
    await opening.setUp();
  } catch (error) {
    say(error.message);
  }
  document.body.dataset.ready = '';
}

start();
