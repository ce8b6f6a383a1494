// Whether all is well: backlog, latency, gaps, failed files, and every status in words.
import { html } from '../vendor/htm-preact.js';
import { counted, get, stamp, words } from '../api.js';
import { Chart, Failure, useLoad } from '../parts.js';

export function Health() {
  const [found, error] = useLoad(() => Promise.all([get('health', { days: 1 }), get('statuses'), get('gaps'), get('files', { limit: 50 })]), []);
  if (error) return html`<${Failure} error=${error} />`;
  if (!found) return html`<h2>Health</h2><p class="dim">Loading.</p>`;
  const [health, statuses, gaps, files] = found;
  return html`<h2>Health</h2>
    <p>The page's store uses ${(health.store_bytes / 1e6).toFixed(1)} MB.</p>
    ${health.daemons.map((each) => html`<${Daemon} key=${each.number} daemon=${each} />`)}
    <${Table} title="Status messages" columns=${['Time', 'Daemon', 'What', 'Source', 'Text']} rows=${statuses.map((each) => [stamp(each.at), each.node, words(each.what), each.source, each.text])} />
    <${Table} title="Gaps" columns=${['Time', 'Source', 'Seconds', 'Reason']} rows=${gaps.map((each) => [stamp(each.at), each.source, each.duration_s.toFixed(1), words(each.reason)])} />
    <${Table} title="Files" columns=${['Time', 'Source', 'File', 'State', 'Error']} rows=${files.map((each) => [stamp(each.at), each.source, each.path, each.state, each.error])} />`;
}

// What each chart shows, and its lines: title, field, and by how much it is divided.
const CHARTS = [
  ['windows a second', [['windows a second', 'windows', 60], ['of which silent', 'silent', 60]]],
  ['backlog', [['files waiting', 'files', 1], ['messages waiting', 'messages', 1]]],
  ['latency', [['mean latency, ms', 'latency_ms', 1]]],
  ['starts', [['starts', 'starts', 1]]],
  ['sizes', [['journal, MB', 'journal_bytes', 1e6], ['store, MB', 'store_bytes', 1e6]]],
];

function Daemon({ daemon }) {
  const x = daemon.minutes.map((each) => each.at / 1000);
  const column = (name) => daemon.minutes.map((each) => each[name]);
  return html`<section class="panel"><h3>${daemon.node ?? daemon.endpoint} <span class=${daemon.state === 'running' ? 'good' : 'bad'}>${daemon.state}</span></h3>
    ${daemon.lost > 0 && html`<p class="bad">The daemon pruned ${counted(daemon.lost, 'message')} before the page could read ${daemon.lost === 1 ? 'it' : 'them'}.</p>`}
    <p>Starts in the last day: ${column('starts').reduce((a, b) => a + b, 0)}.${daemon.heartbeat?.blocked && html` <strong class="bad">${daemon.heartbeat.blocked}</strong>`}</p>
    ${x.length > 1 ? html`<div class="charts">${CHARTS.map(([label, series]) => html`<${Chart} key=${label} x=${x} time=${true} label=${`${label[0].toUpperCase()}${label.slice(1)} over the last day`}
      series=${series.map(([title, name, unit]) => ({ label: title, values: column(name).map((value) => (value == null ? null : value / unit)) }))} />`)}</div>` : html`<p class="dim">Too little time has passed for a chart.</p>`}</section>`;
}

const Table = ({ title, columns, rows }) => html`<section class="panel"><h3>${title}</h3>${rows.length ? html`<div class="scroll" tabindex="0" role="region" aria-label=${title}><table>
  <thead><tr>${columns.map((each) => html`<th scope="col">${each}</th>`)}</tr></thead>
  <tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td class=${String(cell).length > 30 ? 'path' : ''}>${cell ?? ''}</td>`)}</tr>`)}</tbody></table></div>` : html`<p class="dim">None.</p>`}</section>`;
