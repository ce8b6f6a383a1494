// Requests to the API, the live stream, and how times and numbers are written.
let token = null;
const AGAIN_MS = 3000;
export const SIGNED_OUT = 'signed-out';  // an event of the window

export class Problem extends Error {
  constructor(code, text) { super(text); this.code = code; }
}

export async function session() {
  const found = await get('session');
  token = found.token;
  return found;
}

export const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== '' && value != null);
  return given.length ? `?${new URLSearchParams(given)}` : '';
};

export const get = (path, values = {}) => ask('GET', path + query(values));
export const put = (path, body) => ask('PUT', path, body);
export const post = (path, body) => ask('POST', path, body);
export const remove = (path) => ask('DELETE', path);

async function ask(method, path, body, again = true) {
  const headers = { 'X-Token': token ?? '' };
  let answer, found;
  try {
    answer = await fetch(`api/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
    found = await answer.json();
  } catch {  // no answer, or one of a proxy
    throw new Problem('no_answer', `the page does not answer${answer ? ` (HTTP ${answer.status})` : ''}; it may be restarting`);
  }
  if (found.error?.code === 'sign_in') dispatchEvent(new Event(SIGNED_OUT));
  if (found.error?.code === 'no_token' && again) {  // the page was started again since
    await session();
    return ask(method, path, body, false);
  }
  if (!answer.ok) throw new Problem(found.error.code, found.error.text);
  return found;
}

// Calls `heard(kind, message)`; kind is `lost` when the stream breaks and `hello` when it is back.
export function listen(heard) {
  let [stream, later] = [null, null];
  const open = () => {
    stream = new EventSource('api/v1/live');
    for (const kind of ['hello', 'behind', 'rows', 'prediction', 'file', 'event', 'gap', 'status', 'heartbeat'])
      stream.addEventListener(kind, (event) => heard(kind, JSON.parse(event.data)));
    stream.onerror = () => {
      heard('lost', {});
      if (stream.readyState === EventSource.CLOSED) later = setTimeout(again, AGAIN_MS);
    };
  };
  // A browser gives up after an answer that is no stream: of a proxy, or because somebody has to sign in.
  const again = async () => {
    const mine = later;
    const who = await session().catch(() => null);
    if (mine !== later) return;  // closed since
    if (who && !who.signed_in) dispatchEvent(new Event(SIGNED_OUT));
    else if (who) open();
    else later = setTimeout(again, AGAIN_MS);
  };
  const close = () => { clearTimeout(later); stream?.close(); [stream, later] = [null, null]; };
  // All tabs of a browser share six connections to a host: those that are not seen take none.
  const look = () => { close(); if (!document.hidden) open(); };
  document.addEventListener('visibilitychange', look);
  look();
  return () => { document.removeEventListener('visibilitychange', look); close(); };
}

// To make a formatter takes 0.1 ms or more, and a list has hundreds of times: each is made once.
function once(make) {
  const made = new Map();
  return (name) => { if (!made.has(name)) made.set(name, make(name)); return made.get(name); };
}

// The zone of a link, else the one chosen before, else the browser's.
export const exists = once((name) => { try { return !!name && !!new Intl.DateTimeFormat('en', { timeZone: name }); } catch { return false; } });
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
const linked = () => new URLSearchParams(location.hash.split('?')[1]).get('zone');
const stored = (use) => { try { return use(localStorage); } catch { return null; } };  // a browser may allow none
export const zone = () => [linked(), stored((all) => all.getItem('zone')), own].find(exists) ?? 'UTC';
export const setZone = (name) => stored((all) => (name ? all.setItem('zone', name) : all.removeItem('zone')));
export const zones = () => Intl.supportedValuesOf?.('timeZone') ?? ['UTC'];

const format = (options) => { const of = once((name) => new Intl.DateTimeFormat('en-GB', { timeZone: name, ...options })); return (at) => of(zone()).format(at); };
export const hour = format({ hour: '2-digit' });
export const minute = format({ hour: '2-digit', minute: '2-digit' });
export const clock = format({ hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const stamp = format({ year: 'numeric', month: 'short', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' });
const parts = (at, name) => Object.fromEntries(new Intl.DateTimeFormat('en-CA', { timeZone: name, year: 'numeric', month: '2-digit', day: '2-digit' }).formatToParts(at).map((part) => [part.type, part.value]));
export const month = (date) => new Intl.DateTimeFormat('en-GB', { month: 'short', timeZone: 'UTC' }).format(new Date(date));
export const day = (at = Date.now(), name = zone()) => { const p = parts(at, name); return `${p.year}-${p.month}-${p.day}`; };
export const counted = (number, noun) => `${number} ${noun}${number === 1 ? '' : 's'}`;
export const percent = (score) => `${(100 * score).toFixed(0)} %`;
export const words = (label) => label.replaceAll('_', ' ');
export const level = (dbfs) => (dbfs <= -200 ? 'digital silence' : `${dbfs.toFixed(1)} dBFS`);
