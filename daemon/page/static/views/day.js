// One day: a heat map of label by hour, and the list of what was heard.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';
import { counted, day, exists, get, hour as clockHour, query, setZone, words, zone, zones } from '../api.js';
import { Failure, Rows, useLoad } from '../parts.js';

const LIMIT = 100;
const DATE = /^\d{4}-\d\d-\d\d$/;

export function Day({ values, go }) {
  const date = DATE.test(values.day) && !isNaN(new Date(`${values.day}T12:00Z`)) ? values.day : day();
  const all = { ...values, day: date, before: '', before_at: '' };  // for links to the first page
  const [map, mapError] = useLoad(() => get('heatmap', { day: date, zone: zone(), source: values.source, daemon: values.daemon }), [date, values.source, values.daemon, zone()]);
  const { hour, zone: _, day: __, ...chosen } = values;
  if (map && hour !== undefined) { chosen.since = map.edges[hour]; chosen.until = map.edges[+hour + 1]; }
  else if (map) { chosen.since ??= map.edges[0]; chosen.until ??= map.edges.at(-1); }
  const [rows, rowsError] = useLoad(() => (map ? get('predictions', { ...chosen, limit: LIMIT }) : Promise.resolve(null)), [map, JSON.stringify(chosen)]);
  const step = (days) => { const at = new Date(`${date}T12:00Z`); at.setUTCDate(at.getUTCDate() + days); return at.toISOString().slice(0, 10); };
  const last = rows?.length === LIMIT ? rows.at(-1) : null;
  const { before, before_at, ...whole } = chosen;  // an export has no pages
  const page = useRef(before);
  useEffect(() => {  // another page is read from its first row
    if (!rows || page.current === before) return;
    page.current = before;
    const list = document.querySelector('.rows');
    list?.scrollIntoView();
    list?.focus({ preventScroll: true });
  }, [rows]);
  return html`<h2>Day</h2>
    <${Filter} values=${all} go=${go} />
    <p><a href=${`#/day${query({ ...all, day: step(-1), hour: '' })}`}>Day before</a> · <a href=${`#/day${query({ ...all, day: step(1), hour: '' })}`}>Day after</a>
      ${(values.hour !== undefined || values.label) && html` · <a href=${`#/day${query({ ...all, hour: '', label: '' })}`}>All labels and hours</a>`}</p>
    ${mapError && html`<${Failure} error=${mapError} />`}
    ${map && html`<${Heat} map=${map} values=${all} />`}
    ${rowsError && html`<${Failure} error=${rowsError} />`}
    ${rows && html`<${Rows} rows=${rows} caption=${`The ${before ? 'next' : 'newest'} ${counted(rows.length, 'prediction')} in this selection`} />`}
    <p>${before && html`<a href=${`#/day${query(all)}`}>Newest</a> `}${last && html`<a href=${`#/day${query({ ...all, before: last.number, before_at: last.at })}`}>Older</a>`}</p>
    <${Export} values=${whole} />`;
}

// Tables for data frames hold every window, those for programs that annotate sound the accepted ones.
function Export({ values }) {
  const [join, setJoin] = useState(false);
  const link = (format, more, name) => html`<a href=${`api/v1/export${query({ ...values, format, ...more })}`} download>${name}</a>`;
  const joined = join ? { join } : {};
  return html`<section><h3>Export this selection</h3>
    <p>Every window: ${link('csv', {}, 'CSV')} · ${link('jsonl', {}, 'JSONL')} · ${link('parquet', {}, 'Parquet')}</p>
    <p>For annotation: ${link('raven', joined, 'Raven')} · ${link('raven', { ...joined, separate: true }, 'Raven, a table for each recording')} ·
      ${' '}${link('audacity', { ...joined, separate: true }, 'Audacity, a track for each recording')} · ${link('kaleidoscope', joined, 'Kaleidoscope')}<br />
      <label><input type="checkbox" checked=${join} onchange=${(event) => setJoin(event.target.checked)} /> Join neighbouring windows of one label</label></p></section>`;
}

const sum = (counts) => counts.reduce((a, b) => a + b, 0);

function Heat({ map, values }) {
  const labels = Object.entries(map.labels);
  const most = Math.max(1, ...labels.flatMap(([, counts]) => counts));
  if (!labels.length) return html`<p class="dim">No accepted sound on ${map.day} (${map.zone}).</p>`;
  const hours = map.edges.slice(0, -1);
  const totals = hours.map((_, hour) => sum(labels.map(([, counts]) => counts[hour])));
  return html`<div class="scroll" tabindex="0" role="region" aria-label="accepted sounds by hour"><table class="heat">
    <caption class="dim">Accepted windows on ${map.day}, ${map.zone}</caption>
    <thead><tr><th scope="col">Label</th>${hours.map((at) => html`<th scope="col" class="number">${clockHour(at)}</th>`)}<th scope="col" class="number">Total</th></tr></thead>
    <tbody>${labels.map(([label, counts]) => html`<tr key=${label}><th scope="row"><a href=${`#/day${query({ ...values, label, hour: '' })}`}>${words(label)}</a></th>
      ${counts.map((count, hour) => html`<td style=${{ background: count ? `rgba(var(--heat), ${(0.12 + 0.38 * count / most).toFixed(2)})` : '' }}>
        ${count ? html`<a href=${`#/day${query({ ...values, label, hour })}`} aria-label=${`${count} ${words(label)} from ${clockHour(hours[hour])} o'clock`}>${count}</a>` : ''}</td>`)}
      <td class="number">${sum(counts)}</td></tr>`)}</tbody>
    <tfoot><tr><th scope="row">All</th>${totals.map((count) => html`<td class="number">${count || ''}</td>`)}<td class="number">${sum(totals)}</td></tr></tfoot></table></div>`;
}

function Filter({ values, go }) {
  const [known] = useLoad(() => Promise.all([get('daemons'), get('labels'), get('now')]), []);
  const [daemons, labels, now] = known ?? [[], [], { sources: [] }];
  const sources = [...new Set(now.sources.map((each) => each.name))];
  const send = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    // Today stays today in another zone, whatever its date is there.
    if (given.day === day() && exists(given.zone)) given.day = day(Date.now(), given.zone);
    setZone(given.zone);
    go('day', given);
  };
  return html`<form class="filter" key=${JSON.stringify(values)} onsubmit=${send}>
    <label>Date <input type="date" name="day" defaultValue=${values.day} required /></label>
    <label>Label <input name="label" list="labels" defaultValue=${values.label ?? ''} maxlength="200" /></label>
    <label>Source <input name="source" list="sources" defaultValue=${values.source ?? ''} maxlength="200" /></label>
    <label>Daemon <select name="daemon"><option value="">any</option>${daemons.map((each) => html`<option value=${each.number} selected=${String(each.number) === String(values.daemon)}>${each.node ?? each.endpoint}</option>`)}</select></label>
    <label>File name contains <input name="text" defaultValue=${values.text ?? ''} maxlength="200" /></label>
    <label>Decision <select name="decision"><option value="">any</option>${['accepted', 'rejected'].map((each) => html`<option selected=${each === values.decision}>${each}</option>`)}</select></label>
    <label>Lowest score <input name="min_score" type="number" min="0" max="1" step="0.01" defaultValue=${values.min_score ?? ''} /></label>
    <label>Highest score <input name="max_score" type="number" min="0" max="1" step="0.01" defaultValue=${values.max_score ?? ''} /></label>
    <label>Time zone <input name="zone" list="zones" defaultValue=${zone()} /></label>
    <datalist id="labels">${labels.map((each) => html`<option value=${each.label}></option>`)}</datalist>
    <datalist id="sources">${sources.map((each) => html`<option value=${each}></option>`)}</datalist>
    <datalist id="zones">${zones().map((each) => html`<option>${each}</option>`)}</datalist>
    <button class="main">Show</button></form>`;
}
