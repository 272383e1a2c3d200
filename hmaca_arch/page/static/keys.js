// Keys, as in painting programs, and the list of them.

export const KEYS = [
  ['B', 'brush'],
  ['E', 'eraser'],
  ['R', 'rectangle'],
  ['L', 'lasso'],
  ['H', 'move the image; or hold Space'],
  ['[  ]', 'smaller or larger brush'],
  ['Alt', 'rectangle and lasso erase'],
  ['Ctrl-Z', 'undo'],
  ['Ctrl-Shift-Z, Ctrl-Y', 'redo'],
  ['G  Shift-G', 'grow or shrink the mask'],
  ['I', 'invert the mask'],
  ['Delete', 'clear the mask'],
  ['+  -', 'zoom; or the wheel'],
  ['0  1', 'whole image, or 100 %'],
  ['Enter', 'restore'],
  ['X', 'flip between before and after'],
  ['Esc', 'cancel, or back to the mask'],
  ['Ctrl-O  Ctrl-S', 'open, save'],
];

const PLAIN = {
  b: ['tool', 'brush'],
  e: ['tool', 'eraser'],
  r: ['tool', 'rectangle'],
  l: ['tool', 'lasso'],
  h: ['tool', 'hand'],
  '[': ['size', 1 / 1.15],
  ']': ['size', 1.15],
  g: ['grow', 1],
  i: ['invert'],
  delete: ['clear'],
  backspace: ['clear'],
  '+': ['zoom', 1.25],
  '=': ['zoom', 1.25],
  '-': ['zoom', 0.8],
  0: ['fit'],
  1: ['full'],
  enter: ['restore'],
  x: ['flip'],
  escape: ['back'],
  '?': ['help'],
};

const WITH_CONTROL = { z: ['undo'], y: ['redo'], o: ['open'], s: ['save'] };

/** Call action(name, value) for keys; held(true or false) while Space is down. */
export function setUp(action, held) {
  addEventListener('keydown', (event) => {
    if (document.querySelector('dialog[open]')) return;
    const field = event.target.closest('input, select, textarea');
    const types = field && !['range', 'checkbox'].includes(field.type);
    const key = event.key.toLowerCase();
    if (key === ' ') {
      if (!event.target.closest('button, input, select, summary, textarea')) {
        event.preventDefault();
        held(true);
      }
      return;
    }
    let found;
    if (event.ctrlKey || event.metaKey) {
      if (types && 'zy'.includes(key)) return;
      found = key === 'z' && event.shiftKey ? ['redo'] : WITH_CONTROL[key];
    } else if (key === 'g' && event.shiftKey) {
      found = ['grow', -1];
    } else if (!event.altKey) {
      found = PLAIN[key];
    }
    if (!found || (types && !event.ctrlKey && !event.metaKey && key !== 'escape')) {
      if (!(found && key === 'enter' && field?.tagName === 'INPUT')) return;
    }
    if (key === 'enter' && event.target.closest('button, summary, a')) return;
    event.preventDefault();
    if (key === 'escape') field?.blur();
    action(...found);
  });
  addEventListener('keyup', (event) => {
    if (event.key === ' ') held(false);
  });
  addEventListener('blur', () => held(false));
}
