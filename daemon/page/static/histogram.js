// A histogram with a threshold that is dragged, or moved with the arrow keys.
import { html, useRef } from './vendor/htm-preact.js';

const [WIDTH, HEIGHT, FOOT] = [500, 150, 18];  // of the drawing, which fills its place
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity };

// `counts` of each bin from 0 to 1; `at`: the bin where the threshold lies.
export function Histogram({ counts, at, onMove, label }) {
  const drawing = useRef(null);
  const bins = counts.length;
  const most = Math.max(1, ...counts);
  const step = WIDTH / bins;
  const move = (bin) => onMove(Math.min(bins - 1, Math.max(0, bin)));
  const drag = (event) => {
    if (!event.buttons) return;
    drawing.current.setPointerCapture(event.pointerId);
    const { left, width } = drawing.current.getBoundingClientRect();
    move(Math.round((event.clientX - left) / width * bins));
  };
  const press = (event) => {
    if (!(event.key in KEYS)) return;
    event.preventDefault();
    move(at + KEYS[event.key]);
  };
  return html`<svg ref=${drawing} class="histogram" viewBox=${`0 0 ${WIDTH} ${HEIGHT + FOOT}`} preserveAspectRatio="none" onpointerdown=${drag} onpointermove=${drag}
      tabindex="0" role="slider" aria-label=${label} aria-describedby="howto" aria-valuemin="0" aria-valuemax="1" aria-valuenow=${(at / bins).toFixed(2)} onkeydown=${press}>
    ${counts.map((count, bin) => html`<rect key=${bin} class=${bin < at ? 'below' : 'above'} x=${bin * step + 0.5} width=${step - 1}
      y=${HEIGHT * (1 - count / most)} height=${HEIGHT * count / most} />`)}
    <line class="ground" x1="0" x2=${WIDTH} y1=${HEIGHT} y2=${HEIGHT} />
    <line class="threshold" x1=${at * step} x2=${at * step} y1="0" y2=${HEIGHT} /><line class="handle" x1=${at * step} x2=${at * step} y1=${HEIGHT + FOOT / 2} y2=${HEIGHT + FOOT / 2} /></svg>
    <div class="scale dim" aria-hidden="true"><span>0</span><span>0.5</span><span>1</span></div>`;
}
