// One day: a heat map of label by hour, and the list of what was heard.
import { html, useState } from '../vendor/htm-preact.js';
import { day, get, query, setZone, words, zone, zones } from '../api.js';
import { Failure, Rows, useLoad } from '../parts.js';

export function Day({ values, go }) {
  const date = values.day ?? day();
  const [map, mapError] = useLoad(() => get('heatmap', { day: date, zone: zone(), source: values.source, daemon: values.daemon }), [date, values.source, values.daemon, zone()]);
  const chosen = { ...values, day: undefined };
  if (map && chosen.hour !== undefined) { chosen.since = hours(map)[chosen.hour]; chosen.until = hours(map)[+chosen.hour + 1]; }
  else if (map) { chosen.since ??= hours(map)[0]; chosen.until ??= hours(map).at(-1); }
  delete chosen.hour;
  const [rows, rowsError] = useLoad(() => (map ? get('predictions', chosen) : Promise.resolve(null)), [map, JSON.stringify(chosen)]);
  const step = (days) => { const at = new Date(`${date}T12:00Z`); at.setUTCDate(at.getUTCDate() + days); return at.toISOString().slice(0, 10); };
  return html`<h2>Day</h2>
    <${Filter} values=${{ ...values, day: date }} go=${go} />
    <p><a href=${`#/day${query({ ...values, day: step(-1), hour: '' })}`}>Day before</a> · <a href=${`#/day${query({ ...values, day: step(1), hour: '' })}`}>Day after</a></p>
    ${mapError && html`<${Failure} error=${mapError} />`}
    ${map && html`<${Heat} map=${map} values=${{ ...values, day: date }} />`}
    ${rowsError && html`<${Failure} error=${rowsError} />`}
    ${rows && html`<${Rows} rows=${rows} caption=${`The newest ${rows.length} predictions of this choice`} />`}
    <p>Export this choice: ${['csv', 'jsonl', 'parquet'].map((format) => html`<a href=${`api/v1/export${query({ ...chosen, format })}`} download>${format.toUpperCase()}</a> `)}</p>`;
}

const hours = (map) => map.edges;

function Heat({ map, values }) {
  const labels = Object.entries(map.labels);
  const most = Math.max(1, ...labels.flatMap(([, counts]) => counts));
  if (!labels.length) return html`<p class="dim">No accepted sound on ${map.day} (${map.zone}).</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label="accepted sounds by hour"><table class="heat">
    <caption class="dim">Accepted windows on ${map.day}, ${map.zone}</caption>
    <thead><tr><th scope="col">Label</th>${hours(map).slice(0, -1).map((_, hour) => html`<th scope="col" class="number">${hour}</th>`)}<th scope="col" class="number">Sum</th></tr></thead>
    <tbody>${labels.map(([label, counts]) => html`<tr key=${label}><th scope="row"><a href=${`#/day${query({ ...values, label, hour: '' })}`}>${words(label)}</a></th>
      ${counts.map((count, hour) => html`<td style=${{ background: count ? `rgba(var(--heat), ${(0.12 + 0.38 * count / most).toFixed(2)})` : '' }}>
        ${count ? html`<a href=${`#/day${query({ ...values, label, hour })}`} aria-label=${`${count} ${words(label)} in hour ${hour}`}>${count}</a>` : ''}</td>`)}
      <td class="number">${counts.reduce((a, b) => a + b, 0)}</td></tr>`)}</tbody></table></div>`;
}

function Filter({ values, go }) {
  const [name, setName] = useState(zone());
  const send = (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    setZone(given.zone); delete given.zone;
    go('day', given);
  };
  return html`<form class="filter" onsubmit=${send}>
    <label>Date <input type="date" name="day" value=${values.day} required /></label>
    <label>Label <input name="label" value=${values.label ?? ''} maxlength="200" /></label>
    <label>Source <input name="source" value=${values.source ?? ''} maxlength="200" /></label>
    <label>File name contains <input name="text" value=${values.text ?? ''} maxlength="200" /></label>
    <label>Decision <select name="decision" value=${values.decision ?? ''}><option value="">any</option><option>accepted</option><option>rejected</option></select></label>
    <label>Least score <input name="min_score" type="number" min="0" max="1" step="0.01" value=${values.min_score ?? ''} /></label>
    <label>Time zone <input name="zone" list="zones" value=${name} oninput=${(event) => setName(event.target.value)} /></label>
    <datalist id="zones">${zones().map((each) => html`<option>${each}</option>`)}</datalist>
    <button class="main">Show</button></form>`;
}
