// Small helpers for the page's elements, and the sentence that says what went wrong.

export const $ = (id) => document.getElementById(id);

export function on(id, event, action) {
  $(id).addEventListener(event, action);
}

export function show(element, visible) {
  element.hidden = !visible;
}

const names = new Set(); // of files

/** Note the names of files, which sentences of the server begin with. */
export function remember(...files) {
  for (const name of files) names.add(name);
}

/** Show a sentence until the next action. Names of files are shown as they are. */
export function say(sentence, kind = 'error') {
  const notice = $('notice');
  const named = [...names].some((name) => sentence.startsWith(name));
  const text = named ? sentence : sentence[0].toUpperCase() + sentence.slice(1);
  notice.textContent = /[.?!]$/.test(text) ? text : `${text}.`;
  notice.dataset.kind = kind;
  show(notice, true);
}

export function hush() {
  show($('notice'), false);
}

/** Offer a Blob as a download. */
export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export function describeTime(seconds) {
  if (seconds < 90) return `${seconds} s`;
  return `${Math.round(seconds / 60)} min`;
}
