// Components that several views use.
import { html, useEffect, useRef, useState } from './vendor/htm-preact.js';
import uPlot from './vendor/uplot.js';
import { level, minute, percent, stamp, words } from './api.js';

export const VERDICTS = { right: 'right', wrong: 'wrong', other: 'it is', ignore: 'not of interest' };
export const sound = (row) => `api/v1/predictions/${row.number}/sound.wav`;
export const picture = (row) => (row.picture ? `data:image/png;base64,${row.picture}` : `api/v1/predictions/${row.number}/picture.png?of=${row.id}`);  // another store may give the number to another one

export function Picture({ row, large }) {
  const [gone, setGone] = useState(false);
  const [src] = useState(() => picture(row));  // the one that came with the row stays
  const size = large ? 'picture large' : 'picture';
  if (gone) return html`<span class=${size} role="img" aria-label="no picture: the sound is gone"></span>`;
  return html`<img class=${size} loading=${row.picture ? 'eager' : 'lazy'} src=${src} onerror=${() => setGone(true)}
    alt=${`spectrogram of ${words(row.label)}`} />`;
}

export function Player({ row }) {
  const [failed, setFailed] = useState({});
  const fail = async () => {
    const answer = await fetch(sound(row));
    setFailed({ number: row.number, text: answer.ok ? 'this browser cannot play it' : (await answer.json()).error.text });
  };
  if (row.private) return html`<span class="dim">contains a voice: not played</span>`;
  if (row.kind === 'mic' && !row.path) return html`<span class="dim">sound not kept</span>`;
  if (failed.number === row.number) return html`<span class="dim">${failed.text}</span>`;
  return html`<span class="player"><audio controls preload="none" src=${sound(row)} onerror=${fail} aria-label=${`sound of ${words(row.label)}`}></audio>
    <a href=${sound(row)} download=${`${row.label}-${row.number}.wav`}>Download</a></span>`;
}

// A time that another source in the file contradicts.
export const Time = ({ row }) => html`${stamp(row.at)}${row.doubt && html` <strong class="bad" role="img" aria-label="another source of the time disagrees" title="another source of the time disagrees">?</strong>`}`;

export const Decision = ({ row }) => row.decision === 'accepted'
  ? html`<span class="good">accepted</span>`
  : html`<span class="dim">${words(row.reason)}</span>`;

export function Top({ row }) {
  return html`<dl class="top">${row.top.map((each) => html`
    <dt>${words(each.label)}</dt>
    <dd><meter min="0" max="1" value=${each.score} aria-label=${words(each.label)}></meter></dd>
    <dd>${percent(each.score)}</dd>`)}</dl>`;
}

export function Rows({ rows, caption }) {
  if (!rows.length) return html`<p class="dim">No prediction matches.</p>`;
  return html`<div class="scroll rows" tabindex="0" role="region" aria-label=${caption}><table>
    <caption class="dim">${caption}</caption>
    <thead><tr><th scope="col">Picture</th><th scope="col">Time</th><th scope="col">Label</th>
      <th scope="col" class="number">Score</th><th scope="col">Decision</th><th scope="col">Source</th><th scope="col">Sound</th></tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.number} data-number=${row.number}>
      <td><${Picture} row=${row} /></td>
      <td><${Time} row=${row} /></td>
      <td><a href=${`#/label?label=${encodeURIComponent(row.label)}`}>${words(row.label)}</a></td>
      <td class="number">${percent(row.score)}</td>
      <td><${Decision} row=${row} />${row.verdict && html` <span class="dim">(${VERDICTS[row.verdict]}${row.verdict === 'other' ? ` ${row.corrected}` : ''})</span>`}</td>
      <td class="path">${row.source}${row.path && html`<br /><span class="dim">${row.path.split('/').pop()} at ${row.start_s.toFixed(1)} s</span>`}
        <br /><span class="dim">${level(row.level_dbfs)}</span></td>
      <td><${Player} row=${row} /></td></tr>`)}</tbody></table></div>`;
}

// A line chart; `series` is a list of {label, values, bars}.
export function Chart({ x, series, time, height = 200, label, onPick }) {
  const place = useRef(null);
  useEffect(() => {
    const ink = getComputedStyle(document.documentElement).getPropertyValue('--ink').trim();
    const colours = ['--accent', '--bad', '--dim'].map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim());
    const axis = { stroke: ink, grid: { stroke: 'rgba(128,128,128,.25)' } };
    const plot = new uPlot({
      width: Math.max(200, place.current.clientWidth), height, scales: { x: { time: !!time } },
      title: label, axes: [time ? { ...axis, values: (_, at) => at.map((each) => minute(1000 * each)) } : axis, axis], cursor: { drag: { x: false, y: false } },
      series: [time ? { label: 'Time', value: (_, at) => (at == null ? '--' : minute(1000 * at)) } : {}, ...series.map((each, i) => ({ label: each.label, stroke: colours[i % 3], width: 2, spanGaps: true,
        ...(each.bars ? { paths: uPlot.paths.bars({ size: [0.9] }), fill: colours[i % 3], points: { show: false } } : {}) }))],
    }, [x, ...series.map((each) => each.values)], place.current);
    const pick = () => plot.cursor.idx != null && onPick?.(plot.cursor.idx);
    plot.over.addEventListener('click', pick);
    return () => plot.destroy();
  }, [x, series]);
  return html`<div ref=${place} role="img" aria-label=${label}></div>`;
}

export function Failure({ error }) {
  return html`<p class="panel error" role="alert">${error.message}</p>`;
}

// Loads something whenever `keys` change; gives [value, error, load again, change the value]. Loading again keeps the value if it fails.
export function useLoad(load, keys) {
  const [state, setState] = useState([null, null]);
  const again = (keep) => load().then((value) => setState([value, null]), (error) => setState(([value]) => [keep ? value : null, error]));
  useEffect(() => { again(false); }, keys);
  return [...state, () => again(true), (change) => setState(([value, error]) => [change(value), error])];
}
