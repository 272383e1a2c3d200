// Restore the region: progress, cancelling, and the result with its before and after.

import * as degradation from './degradation.js';
import { $, describeTime, on, save, say } from './dom.js';
import { open } from './opening.js';
import { maskFile, saveMask } from './painting.js';
import * as server from './server.js';
import { mode, moveSplit, setMode, stage, state, view } from './stage.js';

const ASK_EVERY = 250; // milliseconds
const STEP = 0.02; // of the stage's width, by which arrow keys move the border

let job = null; // what is running, as the server describes it
let wanted = true; // whether it has not been cancelled

export async function restore() {
  if (mode() !== 'paint') return;
  if (state.mask.isEmpty) {
    say('Nothing is painted yet: paint over the region, or open a mask');
    return;
  }
  wanted = true;
  setMode('busy');
  showProgress({ state: 'sending' });
  try {
    await run();
  } catch (error) {
    setMode('paint');
    say(error.message);
  } finally {
    job = null;
  }
}

async function run() {
  job = await server.startJob(state.picture.id, {
    mask: await maskFile(),
    degradation: degradation.textOf(),
    context: $('context').value,
    feather: $('feather').value,
  });
  if (!wanted) await server.cancelJob(job.id);
  while (job.state === 'waiting' || job.state === 'running') {
    if (wanted) showProgress(job);
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY));
    job = await server.askJob(job.id);
  }
  if (job.state === 'failed') throw new Error(job.error);
  if (job.state === 'cancelled') setMode('paint');
  else await showResult();
}

function showProgress({ state, before, done, total, seconds_left: left }) {
  let text = 'Sending the mask';
  $('progress').removeAttribute('value');
  if (state === 'waiting') {
    text = before ? `Waiting: ${before} before yours` : 'Starting';
  } else if (state === 'running' && total) {
    const time = left === null ? '' : `, about ${describeTime(left)} left`;
    text = `Restoring: ${done} of ${total} ${total === 1 ? 'tile' : 'tiles'}${time}`;
    if (total > 1) $('progress').value = done / total;
  } else if (state === 'running') {
    text = 'Reading the image';
  }
  $('progress-text').textContent = text;
}

async function cancel() {
  wanted = false;
  $('progress-text').textContent = 'Cancelling';
  if (job) await server.cancelJob(job.id).catch((error) => say(error.message));
}

async function showResult() {
  const bitmap = await createImageBitmap(await server.patchOf(job.id));
  state.result = { job: job.id, bitmap, box: job.box };
  const [, left, , right] = job.box;
  const middle = view.x + ((left + right) / 2) * view.scale;
  state.split = Math.min(0.95, Math.max(0.05, middle / stage.clientWidth));
  const count = job.regions === 1 ? '1 region' : `${job.regions} regions`;
  $('summary').textContent = `${count} restored in ${describeTime(job.seconds)}`;
  const items = job.notes.map((note) =>
    Object.assign(document.createElement('li'), { textContent: note }));
  $('notes').querySelector('ul').replaceChildren(...items);
  $('notes').open = false;
  setMode('compare');
}

/** Leave the result, for the mask. */
function goBack() {
  if (mode() !== 'compare') return;
  state.result = null;
  setMode('paint');
}

/** End what is going on. */
export function leave() {
  if (mode() === 'busy') cancel();
  else goBack();
}

export async function saveImage() {
  if (mode() !== 'compare') return;
  $('save').disabled = true;
  try {
    const { blob, name, notes } = await server.download(state.result.job, $('format').value);
    save(blob, name);
    if (notes.length) say(notes.join('. '), 'note');
  } catch (error) {
    say(error.message);
  } finally {
    $('save').disabled = false;
  }
}

/** Show all as it was, or all as it is. */
export function flip() {
  if (mode() === 'compare') moveSplit(state.split > 0 ? 0 : 1);
}

async function keepResult() {
  return { about: await server.keep(state.result.job) };
}

function setUpCompare() {
  const handle = $('compare');
  handle.addEventListener('pointerdown', (event) => {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    handle.focus({ preventScroll: true });
  });
  handle.addEventListener('pointermove', (event) => {
    if (!handle.hasPointerCapture(event.pointerId)) return;
    moveSplit((event.clientX - stage.getBoundingClientRect().left) / stage.clientWidth);
  });
  handle.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -STEP, ArrowRight: STEP, Home: -1, End: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    moveSplit(state.split + by);
  });
}

export function setUp() {
  on('restore', 'click', restore);
  on('cancel', 'click', cancel);
  on('back', 'click', goBack);
  on('keep', 'click', () => open(keepResult()));
  on('save', 'click', saveImage);
  on('save-mask-too', 'click', saveMask);
  addEventListener('pagehide', () => job && server.cancelJob(job.id));
  setUpCompare();
}
