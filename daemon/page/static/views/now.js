// What is going on: each source with its level, its newest pictures and words, and events.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';
import { clock, counted, get, level, listen, percent, words } from '../api.js';
import { Failure, Picture, Player, Top, useLoad } from '../parts.js';

const KEPT = 32;
const MOST_CAME = 256;

export function Now() {
  const came = useRef([]);  // rows that came by themselves, the newest first
  const all = (now) => ({ ...now, sources: withNew(now.sources, came.current).map((source) => ({ ...source, predictions: merged(source, came.current) })) });
  const [found, error, load, change] = useLoad(() => get('now').then(all), []);
  const [daemons, setDaemons] = useState([]);
  const [live, setLive] = useState(false);
  useEffect(() => {
    get('daemons').then(setDaemons);
    const add = (rows) => {
      came.current = [...rows.map(({ row, picture }) => ({ ...row, picture })), ...came.current].slice(0, MOST_CAME);
      change((now) => now && all(now));
    };
    const news = (kind, message) => ['hello', 'behind', 'event'].includes(kind) || (kind === 'prediction' && !came.current.some((row) => row.id === message.id));
    // Several messages are one request. The next one waits the longer, the slower the page answers.
    let [waiting, pause] = [null, 100];
    const again = async () => {
      const begin = performance.now();
      await load();
      pause = Math.min(2000, Math.max(100, 5 * (performance.now() - begin)));
      waiting = null;
      if (missed) { missed = false; soon(); }
    };
    let missed = false;  // a message came while the request was under way
    const soon = () => { if (waiting) missed = true; else waiting = setTimeout(again, pause); };
    return listen((kind, message) => {
      setLive(kind !== 'lost');
      if (kind === 'heartbeat') setDaemons((all) => [...all.filter((each) => each.number !== message.number), message].sort((a, b) => a.number - b.number));
      else if (kind === 'rows') add(message);
      else if (news(kind, message)) soon();
    });
  }, []);
  if (error && !found) return html`<${Failure} error=${error} />`;  // a page that went away comes back
  const states = daemons.flatMap((each) => (each.heartbeat?.sources ?? []).map((source) => ({ ...source, daemon: each.number })));
  return html`<h2>Now</h2>
    <p class="dim" role="status">${live ? 'Live.' : 'Not connected; trying again.'}</p>
    ${daemons.map((each) => html`<p key=${each.number}><strong>${each.node ?? each.endpoint}</strong>
      ${' '}<span class=${each.state === 'running' ? 'good' : 'bad'}>${each.state}</span>
      ${each.heartbeat && html` <span class="dim">${counted(each.heartbeat.backlog.files, 'file')} waiting</span>`}
      ${each.heartbeat?.blocked && html` <strong class="bad">${each.heartbeat.blocked}</strong>`}
      ${each.fault && html` <strong class="bad">${each.fault}</strong>`}</p>`)}
    ${found?.events.length > 0 && html`<section class="panel"><h3>Ongoing events</h3><ul>${found.events.map((event) => html`
      <li key=${event.id}>${words(event.label)} at ${event.source} since ${clock(event.began)}, up to ${percent(event.peak)}</li>`)}</ul></section>`}
    ${found?.sources.map((source) => html`<${Source} key=${`${source.daemon}/${source.kind}/${source.name}`} source=${source} of=${daemons.length > 1 && daemons.find((each) => each.number === source.daemon)}
      state=${states.find((each) => each.name === source.name && each.daemon === source.daemon)} />`)}
    ${found && !found.sources.length && daemons.length > 0 && html`<p>${daemons.some((each) => each.state === 'running') ? 'Nothing heard yet. Drop a WAV file into a watched folder.' : 'No daemon answers yet. Start one with: tinyastd run'}</p>`}`;
}

const isOf = (row, source) => row.daemon === source.daemon && row.kind === source.kind && row.source === source.name;

// The sources, with those that only `rows` name.
function withNew(sources, rows) {
  const found = [...sources];
  for (const row of rows)
    if (!found.some((source) => isOf(row, source))) found.push({ daemon: row.daemon, kind: row.kind, name: row.source, predictions: [] });
  return found;
}

// The newest predictions of a source, with those of `rows` that are its own.
function merged(source, rows) {
  const known = new Set(source.predictions.map((each) => each.number));
  const more = rows.filter((row) => isOf(row, source) && !known.has(row.number));
  if (!more.length) return source.predictions;
  return [...more, ...source.predictions].sort((a, b) => b.at - a.at || b.number - a.number).slice(0, KEPT);
}

function Source({ source, state, of }) {
  const [chosen, setChosen] = useState(null);
  const rows = source.predictions.slice(0, KEPT);
  const row = rows.find((each) => each.number === chosen) ?? rows[0];
  return html`<section class="panel" data-source=${source.name}>
    <h3>${source.name} ${of && html`<span class="dim">on ${of.node ?? of.endpoint}</span> `}<span class="dim">${source.kind === 'mic' ? 'microphone' : 'folder'}${state && `, ${state.state}`}</span></h3>
    ${state?.degraded && html`<p class="bad">${state.degraded}</p>`}
    ${state?.kind === 'mic' && html`<p><label>Level <meter class="level" min="-90" max="0" value=${state.level_dbfs}></meter></label> ${level(state.level_dbfs)}${state.silent && html` <strong class="bad">It delivers only exact zeros.</strong>`}</p>`}
    <div class="strip">${rows.map((each) => html`<button key=${each.number} data-number=${each.number} aria-pressed=${each.number === row?.number}
      aria-label=${`${words(each.label)} at ${clock(each.at)}`} onclick=${() => setChosen(each.number)}><${Picture} row=${each} /></button>`)}</div>
    ${row && html`<div class="split"><div><p><strong>${words(row.label)}</strong> ${percent(row.score)} <span class="dim">${clock(row.at)}${row.reason && `, ${words(row.reason)}`}</span></p>
      <${Player} row=${row} /></div><${Top} row=${row} /></div>`}
  </section>`;
}
