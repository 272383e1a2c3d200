// The fields that say what was done to the region, as the text that the command takes.

import { $, on, show } from './dom.js';

export function textOf() {
  const kind = $('kind').value;
  const jpeg = $('jpeg').value ? `+jpeg:${$('jpeg').value}` : '';
  if (kind === 'pix') return `pix:${$('block').value}:${$('pool').value}${jpeg}`;
  if (kind === 'blur') return `blur:${$('blur').value}${jpeg}`;
  if (kind === 'noise') return `noise:${$('noise').value}${jpeg}`;
  if (kind === 'text') return $('text').value;
  return kind;
}

/** Show the fields that belong to the chosen degradation, and with `more` the other settings. */
export function setUp(changed) {
  let more = false;
  const update = () => {
    for (const field of document.querySelectorAll('[data-for]')) {
      const kinds = field.dataset.for.split(' ');
      show(field, kinds.includes($('kind').value) || (more && kinds.includes('more')));
    }
    $('settings').setAttribute('aria-expanded', more);
    changed();
  };
  on('kind', 'change', update);
  on('settings', 'click', () => {
    more = !more;
    update();
  });
  update();
}
