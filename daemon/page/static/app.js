// The page: routes in the address's fragment, so that any view is a link; and signing in.
import { html, render, useEffect, useState } from './vendor/htm-preact.js';
import { Problem, SIGNED_OUT, post, query, session } from './api.js';
import { Failure } from './parts.js';
import { Day } from './views/day.js';
import { Health } from './views/health.js';
import { Label } from './views/label.js';
import { Now } from './views/now.js';
import { Review } from './views/review.js';

const VIEWS = { now: ['Now', Now], day: ['Day', Day], label: ['Label', Label], review: ['Review', Review], health: ['Health', Health] };

function route() {
  const [path, values] = location.hash.replace(/^#\/?/, '').split('?');
  return [Object.hasOwn(VIEWS, path) ? path : 'now', Object.fromEntries(new URLSearchParams(values))];
}

function App() {
  const [[name, values], setRoute] = useState(route());
  const [who, setWho] = useState(null);
  const [error, setError] = useState(null);
  const enter = () => session().then((found) => { setWho(found); setError(null); }, setError);
  useEffect(() => {
    enter();
    const change = () => setRoute(route());
    addEventListener('hashchange', change);
    addEventListener(SIGNED_OUT, enter);
    return () => { removeEventListener('hashchange', change); removeEventListener(SIGNED_OUT, enter); };
  }, []);
  useEffect(() => { document.title = `${VIEWS[name][0]} · tinyast`; }, [name]);
  if (error) return html`<main><${Failure} error=${error} /></main>`;
  if (!who) return null;
  if (!who.signed_in) return html`<${SignIn} entered=${enter} />`;
  const View = VIEWS[name][1];
  const go = (to, given) => { location.hash = `#/${to}${query(given)}`; };
  const leave = async () => { await post('sign-out', {}); enter(); };
  return html`<a class="skip" href="#main" onclick=${(event) => { event.preventDefault(); document.querySelector('main').focus(); }}>Skip to content</a>
    <header><h1>tinyast</h1><nav aria-label="views"><ul>${Object.entries(VIEWS).map(([key, [title]]) => html`<li><a href=${`#/${key}`} aria-current=${key === name ? 'page' : undefined}>${title}</a></li>`)}</ul></nav>
      ${who.protected && html`<button onclick=${leave}>Sign out</button>`}</header>
    <main tabindex="-1"><${View} key=${name} values=${values} go=${go} /></main>`;
}

function SignIn({ entered }) {
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try {
      await post('sign-in', { password: new FormData(event.target).get('password') });
      entered();
    } catch (failed) { setError(failed instanceof Problem ? failed : new Error('the page does not answer')); }
  };
  return html`<main><h1>tinyast</h1><form class="filter" onsubmit=${send}>
    <label>Password <input type="password" name="password" autocomplete="current-password" required autofocus /></label><button class="main">Sign in</button></form>
    ${error && html`<${Failure} error=${error} />`}</main>`;
}

render(html`<${App} />`, document.getElementById('app'));
