// Requests to the server. An answer that is an error throws an Error with the server's sentence.

async function answerOf(request) {
  let answer;
  try {
    answer = await request;
  } catch {
    throw new Error('The server does not answer. Is it still running?');
  }
  if (answer.ok) return answer;
  let detail = `The server answers ${answer.status}.`;
  try {
    detail = (await answer.json()).detail;
  } catch {
    // a proxy in between answers in its own words
  }
  const error = new Error(detail);
  error.status = answer.status;
  throw error;
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof File) data.append(name, value, value.name);
    else if (value instanceof Blob) data.append(name, value, `${name}.png`);
    else data.append(name, value);
  }
  return data;
}

const json = async (request) => (await answerOf(request)).json();
const post = (path, fields) => fetch(path, { method: 'POST', body: form(fields) });

export const about = () => json(fetch('api/about'));
export const openImage = (file) => json(post('api/images', { image: file }));
export const openExample = (fields) => json(post('api/examples', fields));
export const keep = (job) => json(fetch(`api/jobs/${job}/keep`, { method: 'POST' }));
export const startJob = (image, fields) => json(post(`api/images/${image}/jobs`, fields));
export const askJob = (job) => json(fetch(`api/jobs/${job}`));
export const cancelJob = (job) =>
  json(fetch(`api/jobs/${job}`, { method: 'DELETE', keepalive: true }));

export const patchOf = async (job) => (await answerOf(fetch(`api/jobs/${job}/patch`))).blob();
export const fileOf = async (image) => (await answerOf(fetch(`api/images/${image}/file`))).blob();
export const previewOf = async (image) =>
  (await answerOf(fetch(`api/images/${image}/preview`))).blob();

const notesOf = (answer) => JSON.parse(answer.headers.get('x-notes') || '[]');

async function maskOf(request) {
  const answer = await answerOf(request);
  return { data: new Uint8Array(await answer.arrayBuffer()), notes: notesOf(answer) };
}

export const openMask = (image, file) => maskOf(post(`api/images/${image}/mask`, { mask: file }));
export const ownMask = (image) => maskOf(fetch(`api/images/${image}/mask`));

/** The restored image as a file, the name that the server gives it, and notes about the file. */
export async function download(job, format) {
  const answer = await answerOf(fetch(`api/jobs/${job}/image?format=${format}`));
  const header = answer.headers.get('content-disposition') || '';
  const name = decodeURIComponent(/filename\*=UTF-8''(.*)$/.exec(header)?.[1] || 'restored');
  return { blob: await answer.blob(), name, notes: notesOf(answer) };
}
