// Open an image: the user's file, or an example.

import { $, on, remember, say, show } from './dom.js';
import { Mask } from './mask.js';
import { addMask, setSize, updateButtons } from './painting.js';
import * as server from './server.js';
import { mode, setMode, state, view } from './stage.js';

const NAMES = { WEBP: 'WebP' }; // of formats, where people write them in another way
const BRUSH = 40; // pixels of the window that a new image's brush covers

/** Open what the server describes. loading: a promise of {about, blob}; blob may be missing. */
export async function open(loading) {
  document.body.classList.add('loading');
  try {
    const { about, blob } = await loading;
    remember(about.name, about.names.restored);
    const bitmap = await bitmapOf(about, blob);
    state.picture?.bitmap.close();
    state.picture = { ...about, bitmap };
    state.mask = new Mask(about.width, about.height);
    state.result = null;
    if (about.has_mask) await addMask(server.ownMask(about.id));
    view.image = state.picture;
    view.fitted = true;
    showFacts();
    setMode('paint');
    setSize(BRUSH / view.scale);
    updateButtons();
    if (about.notes.length) say(about.notes, 'note');
  } catch (error) {
    say(error.message);
  } finally {
    document.body.classList.remove('loading');
  }
}

/** Decode an image as the server reads it: from the file itself, or from the server's preview. */
async function bitmapOf(about, file) {
  if (about.shown) {
    try {
      const bitmap = await createImageBitmap(file || (await server.fileOf(about.id)));
      if (bitmap.width === about.width && bitmap.height === about.height) return bitmap;
    } catch {
      // this browser does not read the file
    }
  }
  return createImageBitmap(await server.previewOf(about.id));
}

export function openFile(file) {
  if (file && mode() !== 'busy') open(upload(file));
}

async function upload(file) {
  remember(file.name);
  const about = await server.openImage(file);
  setTab('own');
  return { about, blob: file };
}

function showFacts() {
  const { name, width, height, depth } = state.picture;
  const deep = depth > 8 ? ` · ${depth} bits` : '';
  $('facts').textContent = `${name} · ${width} × ${height}${deep}`;
  $('facts').title = name;
}

// Tabs

function setTab(name) {
  for (const tab of ['own', 'example']) {
    $(`tab-${tab}`).setAttribute('aria-selected', tab === name);
    show($(tab), tab === name);
  }
}

/** Show a tab; the first one shows the image that is open, if there is one. */
function choose(tab) {
  if (mode() === 'busy') return;
  setTab(tab);
  state.result = null;
  setMode(tab === 'own' && state.picture ? 'paint' : 'empty');
}

async function example() {
  const chosen = document.querySelector('#photographs [aria-checked=true]');
  const about = await server.openExample({
    name: chosen.dataset.name,
    degradation: $('example-degradation').value,
    strength: $('example-strength').value,
  });
  return { about };
}

function showPhotographs(examples) {
  const select = (button, one) => {
    for (const other of $('photographs').children) {
      other.setAttribute('aria-checked', other === button);
    }
    $('example-degradation').value = one.degradation;
  };
  for (const one of examples) {
    const button = document.createElement('button');
    button.dataset.name = one.name;
    button.setAttribute('role', 'radio');
    const image = Object.assign(new Image(), { src: `api/examples/${one.name}.jpg`, alt: '' });
    button.append(image, one.title);
    button.addEventListener('click', () => select(button, one));
    $('photographs').append(button);
  }
  select($('photographs').firstElementChild, examples[0]);
}

/** Ask for a file. id: of the field. */
export function ask(id) {
  if (mode() === 'busy') return;
  $(id).value = '';
  $(id).click();
}

export async function setUp() {
  on('tab-own', 'click', () => choose('own'));
  on('tab-example', 'click', () => choose('example'));
  on('open-example', 'click', () => open(example()));
  for (const id of ['open', 'choose']) on(id, 'click', () => ask('image-file'));
  on('open-mask', 'click', () => ask('mask-file'));
  on('image-file', 'change', () => openFile($('image-file').files[0]));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    openFile(event.dataTransfer.files[0]);
  });
  addEventListener('paste', (event) => {
    openFile([...event.clipboardData.files].find((file) => file.type.startsWith('image/')));
  });
  setTab('own');
  const about = await server.about();
  const names = about.formats.map((name) => NAMES[name] || name);
  $('formats').textContent = `Formats that are read: ${names.join(', ')}`;
  $('told').textContent = about.told ? '' : 'These weights are not told the degradation.';
  showPhotographs(about.examples);
}
