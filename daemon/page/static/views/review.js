// Reviews: one prediction after another, by keyboard.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';
import { get, percent, put, remove, stamp, words } from '../api.js';
import { Failure, Picture, Player, Time, Top, useLoad, VERDICTS } from '../parts.js';

const KEYS = { r: 'right', w: 'wrong', i: 'ignore' };

export function Review({ values }) {
  const [queue, error, load] = useLoad(() => get('review', { ...values, limit: 50 }), [JSON.stringify(values)]);
  const [labels] = useLoad(() => get('labels'), []);
  const [done, setDone] = useState([]);
  const [problem, setProblem] = useState(null);
  const [other, setOther] = useState('');  // the label that is typed
  const saving = useRef(null);  // the number of the prediction
  const row = queue?.find((each) => !done.includes(each.number));
  const say = async (verdict, label) => {
    if (saving.current === row.number) return;  // the key was struck twice
    saving.current = row.number;
    try {
      await put(`predictions/${row.number}/review`, label ? { verdict, label } : { verdict });
      setDone((all) => [...all, row.number]); setProblem(null); setOther('');
    } catch (failed) { setProblem(failed); saving.current = null; }
  };
  const back = async () => {
    if (!done.length) return;
    saving.current = null;
    try {
      await remove(`predictions/${done.at(-1)}/review`);
      setDone((all) => all.slice(0, -1)); setProblem(null);
    } catch (failed) { setProblem(failed); }
  };
  useEffect(() => {
    const press = (event) => {
      if (event.target.matches('input, select, textarea') || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      const key = event.key.toLowerCase();
      if (key === 'u') back();
      else if (row && KEYS[key]) say(KEYS[key]);
      else if (row && key === 'p') document.querySelector('main audio')?.play();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  });
  useEffect(() => { if (queue?.length && !row) load(); }, [row]);
  const save = (event) => { event.preventDefault(); if (!other.trim()) return; say('other', other.trim()); event.target.closest('section').focus(); };  // where the keys count again
  if (error) return html`<${Failure} error=${error} />`;
  return html`<h2>Review</h2>
    <p>The least certain and the most surprising predictions first. Keys: <kbd>p</kbd> play, <kbd>r</kbd> right, <kbd>w</kbd> wrong, <kbd>i</kbd> not of interest, <kbd>u</kbd> take back.
      ${' '}<a href="api/v1/reviews.zip" download="my-sounds.zip">Export the reviewed sounds</a> as a data set to train with.</p>
    ${problem && html`<${Failure} error=${problem} />`}
    <p role="status">Reviewed just now: ${done.length}. ${done.length > 0 && html`<button onclick=${back}>Take the last one back</button>`}</p>
    ${queue && !row && html`<p class="dim">Nothing is left to review.</p>`}
    ${row && html`<section class="panel" tabindex="-1" data-number=${row.number}><h3>Is this ${words(row.label)}?</h3>
      <div class="split" key=${row.number}><${Picture} row=${row} large=${true} /><div><p><${Time} row=${row} />, ${row.source}, ${percent(row.score)}${row.reason && `, ${words(row.reason)}`}${row.path && html`<br /><span class="dim path">${row.path.split('/').pop()} at ${row.start_s.toFixed(1)} s</span>`}</p>
      <${Player} row=${row} /><${Top} row=${row} /></div></div>
      <div class="buttons"><button class="main" onclick=${() => say('right')}>Right</button><button onclick=${() => say('wrong')}>Wrong</button><button onclick=${() => say('ignore')}>Not of interest</button></div>
      <form class="filter" onsubmit=${save}><label>Another label, known or new <input name="label" list="known" maxlength="100" value=${other} oninput=${(event) => setOther(event.target.value)} /></label><button>Save</button></form>
      <datalist id="known">${labels?.map((each) => html`<option value=${each.label}></option>`)}</datalist></section>`}
    <${Reviewed} count=${done.length} />`;
}

function Reviewed({ count }) {
  const [found, error, load] = useLoad(() => get('reviews', { limit: 20 }), [count]);
  const [problem, setProblem] = useState(null);
  const back = (number) => remove(`reviews/${number}`).then(load, setProblem);
  if (error || problem) return html`<${Failure} error=${error ?? problem} />`;
  if (!found?.length) return null;
  return html`<section class="panel"><h3>Latest reviews</h3><div class="scroll" tabindex="0" role="region" aria-label="latest reviews"><table>
    <thead><tr><th scope="col">Recorded</th><th scope="col">Source</th><th scope="col">Heard as</th><th scope="col">Review</th><th scope="col">Undo</th></tr></thead>
    <tbody>${found.map((each) => html`<tr key=${each.number}><td>${stamp(each.at)}</td><td>${each.source}</td><td>${words(each.heard)}</td>
      <td>${VERDICTS[each.verdict]}${each.verdict === 'other' ? ` ${words(each.label)}` : ''}</td>
      <td><button onclick=${() => back(each.number)} aria-label=${`Take back the review of ${words(each.heard)} at ${stamp(each.at)}`}>Take back</button></td></tr>`)}</tbody></table></div></section>`;
}
