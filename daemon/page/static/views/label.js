// One label: its days, the histogram of its scores, and what another threshold would give.
import { html, useState } from '../vendor/htm-preact.js';
import { day, get, query, words, zone } from '../api.js';
import { Chart, Failure, useLoad } from '../parts.js';

const DAYS = 60;

export function Label({ values, go }) {
  const [labels, error] = useLoad(() => get('labels'), []);
  const label = values.label ?? labels?.[0]?.label;
  if (error) return html`<${Failure} error=${error} />`;
  return html`<h2>Label</h2>
    <form class="filter"><label>Label <select value=${label} onchange=${(event) => go('label', { label: event.target.value })}>
      ${labels?.map((each) => html`<option value=${each.label} selected=${each.label === label}>${words(each.label)} (${each.accepted} accepted)</option>`)}</select></label></form>
    ${label && html`<${Days} key=${`d${label}`} label=${label} /><${Scores} key=${`s${label}`} label=${label} />`}`;
}

function Days({ label }) {
  const [days, error] = useLoad(() => get('days', { label, zone: zone(), day: day(), days: DAYS }), [label]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!days?.length) return html`<p class="dim">Not heard in ${DAYS} days.</p>`;
  return html`<section class="panel"><h3>The last ${DAYS} days</h3><div class="scroll" tabindex="0" role="region" aria-label="days"><table>
    <thead><tr><th scope="col">Day</th><th scope="col" class="number">Accepted</th><th scope="col" class="number">Rejected</th></tr></thead>
    <tbody>${days.map(([date, accepted, rejected]) => html`<tr key=${date}><th scope="row"><a href=${`#/day${query({ day: date, label })}`}>${date}</a></th>
      <td class="number">${accepted}</td><td class="number">${rejected}</td></tr>`)}</tbody></table></div></section>`;
}

function Scores({ label }) {
  const [found, error] = useLoad(() => get('scores', { label, days: DAYS }), [label]);
  const [threshold, setThreshold] = useState(0.75);
  if (error) return html`<${Failure} error=${error} />`;
  if (!found) return null;
  const bins = found.predictions.length;
  const at = Math.min(bins - 1, Math.round(threshold * bins));
  const sum = (list) => list.slice(at).reduce((a, b) => a + b, 0);
  const [right, wrong] = [sum(found.right), sum(found.wrong)];
  const hourly = found.hours >= 1 ? found.events[at] / found.hours : null;
  const x = found.predictions.map((_, i) => i / bins);
  return html`<section class="panel"><h3>Scores of ${words(label)}</h3>
    <${Chart} x=${x} series=${[{ label: 'windows', values: found.predictions, bars: true }]} label=${`histogram of the scores of ${words(label)}`} onPick=${(i) => setThreshold(i / bins)} />
    <p><label>Threshold <input type="range" min="0" max="1" step=${1 / bins} value=${threshold} oninput=${(event) => setThreshold(+event.target.value)} /></label> <output>${threshold.toFixed(2)}</output></p>
    <p data-events=${found.events[at]}>At this threshold: events: <strong>${found.events[at]}</strong> in ${found.hours.toFixed(1)} hours${hourly != null && `, ${hourly.toFixed(2)} an hour, ${(24 * hourly).toFixed(1)} a day`}.
      ${right + wrong > 0 && html` Of ${right + wrong} reviewed windows above it, ${right} were right.`}</p>
    <p>For the settings:</p><pre>[decision.thresholds]
"${label}" = ${threshold.toFixed(2)}</pre></section>`;
}
