// One label: its calendar, the histogram of its scores, and what another threshold would give.
import { html, useEffect, useState } from '../vendor/htm-preact.js';
import { counted as many, day, get, month, query, words, zone } from '../api.js';
import { Failure, useLoad } from '../parts.js';
import { Histogram } from '../histogram.js';

const WEEKS = 26;
const DAYS = 60;  // of the scores
const PAUSE_MS = 60;  // after a step of the threshold
const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'];

export function Label({ values, go }) {
  const [labels, error] = useLoad(() => get('labels'), []);
  const label = values.label ?? labels?.[0]?.label;
  if (error) return html`<${Failure} error=${error} />`;
  if (labels && !label) return html`<h2>Label</h2><p class="dim">Nothing heard yet.</p>`;
  return html`<h2>Label</h2>
    <form class="filter"><label>Label <select value=${label} onchange=${(event) => go('label', { label: event.target.value })}>
      ${labels?.map((each) => html`<option value=${each.label} selected=${each.label === label}>${words(each.label)} (${each.accepted} accepted)</option>`)}</select></label></form>
    ${label && html`<${Calendar} key=${`d${label}`} label=${label} /><${Scores} key=${`s${label}`} label=${label} given=${values.threshold} />`}`;
}

const shift = (date, days) => { const at = new Date(`${date}T12:00Z`); at.setUTCDate(at.getUTCDate() + days); return at.toISOString().slice(0, 10); };

function Calendar({ label }) {
  const today = day();
  const monday = shift(today, -((new Date(`${today}T12:00Z`).getUTCDay() + 6) % 7) - 7 * (WEEKS - 1));
  const [days, error] = useLoad(() => get('days', { label, zone: zone(), day: today, days: 7 * WEEKS }), [label]);
  useEffect(() => { const place = document.querySelector('.calendar'); if (place) place.scrollLeft = place.scrollWidth; }, [days]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!days) return null;
  const counts = Object.fromEntries(days.map(([date, accepted, rejected]) => [date, { accepted, rejected }]));
  const most = Math.max(1, ...days.map(([, accepted]) => accepted));
  const weeks = Array.from({ length: WEEKS }, (_, n) => shift(monday, 7 * n));
  const sum = days.reduce((total, [, accepted]) => total + accepted, 0);
  return html`<section class="panel"><h3>The last ${WEEKS} weeks</h3><p>Accepted windows: ${sum}.</p>
    <div class="scroll calendar" tabindex="0" role="region" aria-label="calendar"><table class="heat">
    <thead><tr><th scope="col"><span class="hidden">Weekday</span></th>${weeks.map((week) => html`<th scope="col"><span class="hidden">week of ${week}</span>${week.slice(8) <= '07' ? month(week) : ''}</th>`)}</tr></thead>
    <tbody>${WEEKDAYS.map((name, n) => html`<tr key=${name}><th scope="row">${name}</th>${weeks.map((week) => html`<${Cell} date=${shift(week, n)} today=${today} found=${counts[shift(week, n)]} most=${most} label=${label} />`)}</tr>`)}</tbody></table></div></section>`;
}

function Cell({ date, today, found, most, label }) {
  if (date > today || !found) return html`<td></td>`;
  const text = `${date}: ${found.accepted} accepted, ${found.rejected} rejected`;
  return html`<td style=${{ background: found.accepted ? `rgba(var(--heat), ${(0.12 + 0.38 * found.accepted / most).toFixed(2)})` : '' }}>
    <a href=${`#/day${query({ day: date, label, zone: zone() })}`} title=${text} aria-label=${text}>${found.accepted}</a></td>`;
}

function Scores({ label, given }) {
  const [found, error] = useLoad(() => get('scores', { label, days: DAYS }), [label]);
  const [moved, setMoved] = useState(given === undefined ? null : +given);
  const [copied, setCopied] = useState(false);
  const [counted, setCounted] = useState(null);
  const bins = found?.predictions.length ?? 1;
  const at = Math.min(bins - 1, Math.max(0, Math.round((moved ?? found?.threshold ?? 0) * bins)));
  const threshold = (at / bins).toFixed(2);
  useEffect(() => {  // the daemon's rule of events is applied to every window: not at each step of a drag
    if (!found) return undefined;
    let wanted = true;
    const later = setTimeout(() => get('scores', { label, days: DAYS, threshold }).then((value) => { if (wanted) setCounted(value); }, () => {}), PAUSE_MS);
    return () => { wanted = false; clearTimeout(later); };
  }, [found, threshold]);
  if (error) return html`<${Failure} error=${error} />`;
  if (!found) return null;
  const move = (bin) => {
    setMoved(bin / bins); setCopied(false);
    history.replaceState(null, '', `#/label${query({ label, threshold: (bin / bins).toFixed(2) })}`);
  };
  const sum = (list) => list.slice(at).reduce((a, b) => a + b, 0);
  const [right, wrong] = [sum(found.right), sum(found.wrong)];
  const shown = counted ?? found;  // until the first count of another threshold comes
  const hourly = shown.hours >= 1 ? shown.events / shown.hours : null;
  const lines = `[decision.thresholds]\n${JSON.stringify(label)} = ${threshold}`;
  const copy = () => navigator.clipboard.writeText(lines).then(() => setCopied(true));
  return html`<section class="panel"><h3>Scores of ${words(label)}</h3>
    <p id="howto">Windows of the last ${DAYS} days by score. Drag the line, or move it with the arrow keys. The daemon's threshold is ${found.threshold.toFixed(2)}.</p>
    <${Histogram} counts=${found.predictions} at=${at} onMove=${move} label=${`threshold of ${words(label)}`} />
    <p role="status" data-events=${shown.events}>At <strong>${shown.threshold.toFixed(2)}</strong>: ${many(shown.windows, 'window')} in <strong>${many(shown.events, 'event')}</strong> in ${shown.hours < 1 ? 'less than an hour' : `${shown.hours.toFixed(1)} hours`}${hourly != null ? html`, <strong>${hourly.toFixed(2)}</strong> an hour, <strong>${(24 * hourly).toFixed(1)}</strong> a day` : ''}.
      ${right + wrong > 0 && html` Reviewed at or above it: ${many(right + wrong, 'window')}, <strong>${right}</strong> of them right.`}</p>
    <p>To use this threshold, add to the settings:</p><pre tabindex="0">${lines}</pre>
    ${navigator.clipboard && html`<button onclick=${copy}>Copy</button> <span role="status">${copied && 'Copied.'}</span>`}</section>`;
}
