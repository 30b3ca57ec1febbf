// A slider beside a field for any value. While dragged it stops at the marks, with Shift anywhere; arrows go by a mark, with Shift by one.
const $ = selector => element.querySelector(selector);
const [dial, name, slide, fill, thumb, ticks, field, dice, lock, about] =
  ['.dial', '.name', '.slide', '.slide i', '.slide b', '.ticks', '.exact', '.dice', '.lock', '.about'].map($);
const label = props.label, looks = JSON.parse(dial.dataset.looks), {low, log, step, blend, tools} = looks;
let {high, marks} = looks;

name.textContent = label;
about.textContent = looks.about;
slide.setAttribute('aria-label', label);
slide.setAttribute('aria-valuemin', low);
field.setAttribute('aria-label', `${label}, exact`);
dial.classList.toggle('blend', blend);
dial.classList.toggle('tools', tools);
if (!tools) slide.before(field);  // Tab comes to the controls in the order that one sees: the field stands above its slider, a seed's beside it

const clamp = (value, from, to) => Math.min(to, Math.max(from, value));
const placeOf = value => clamp(log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low), 0, 1);
const valueAt = place => log ? low * (high / low) ** place : low + (high - low) * place;
const rounded = value => clamp(+(Math.round(value / step) * step).toFixed(6), low, high);
const nearest = value => marks.reduce((a, b) => Math.abs(placeOf(b) - placeOf(value)) < Math.abs(placeOf(a) - placeOf(value)) ? b : a);

function show(whole) {
  const value = props.value, is = typeof value === 'number' && Number.isFinite(value);
  const percent = `${100 * placeOf(is ? value : low)}%`;
  fill.style.width = `calc(${percent} + 8px)`;
  thumb.style.left = percent;
  slide.setAttribute('aria-valuemax', high);
  slide.setAttribute('aria-valuenow', is ? clamp(value, low, high) : low);
  slide.setAttribute('aria-valuetext', is ? value : 'no number');
  dice.dataset.value = is ? value : '';
  if (whole && (is || document.activeElement !== field)) field.value = is ? value : '';  // what is half typed stays
}

function lay() {
  ticks.replaceChildren(...looks.ticks.filter(([value]) => value <= high).map(([value, words]) => {
    const tick = document.createElement('span');
    tick.textContent = words;
    tick.style.left = `${100 * placeOf(value)}%`;
    return tick;
  }));
  show(true);
}

// 'input' says that somebody moves it, 'release' that they let go.
function set(value, event = 'input') {
  if (value === props.value) return;
  props.value = value;
  show(true);
  slide.dispatchEvent(new Event('input', {bubbles: true}));
  trigger(event);
}

function drag(event) {
  const box = slide.getBoundingClientRect(), value = valueAt(clamp((event.clientX - box.left) / box.width, 0, 1));
  set(event.shiftKey || !marks.length ? rounded(value) : nearest(value));
}
slide.addEventListener('pointerdown', event => {
  if (event.button) return;
  slide.setPointerCapture(event.pointerId);
  slide.focus({focusVisible: false});
  event.preventDefault();
  window.dragging = window.held = true;
  drag(event);
});
slide.addEventListener('pointermove', event => { if (slide.hasPointerCapture(event.pointerId)) drag(event); });
// While it is held nothing is read out: see status.js and stage.js.
const letGo = () => { window.held = false; document.dispatchEvent(new CustomEvent('let-go')); };
slide.addEventListener('lostpointercapture', () => { window.dragging = false; letGo(); trigger('release'); });

function move(by, exactly) {
  const value = typeof props.value === 'number' ? props.value : low;
  if (exactly || !marks.length) return set(rounded(value + by * step));
  set((by > 0 ? marks.find(mark => mark > value) : marks.findLast(mark => mark < value)) ?? clamp(value, low, high));
}
slide.addEventListener('keydown', event => {
  const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key], end = {Home: low, End: high}[event.key];
  if (!by && end === undefined) return;
  window.held = true;
  if (by) move(by, event.shiftKey); else set(end);
  event.preventDefault();
});
slide.addEventListener('keyup', event => { if (/^(Arrow|Home|End)/.test(event.key)) { letGo(); trigger('release'); } });
slide.addEventListener('blur', () => { if (window.held) letGo(); });

field.addEventListener('input', () => {
  props.value = field.valueAsNumber;  // NaN when empty, which travels as null; Gradio would make text of a null
  show(false);
  trigger('input');
});
field.addEventListener('change', () => trigger('release'));
document.addEventListener('take', ({detail}) => { if (detail[looks.own] !== undefined) { set(detail[looks.own]); trigger('release'); } });
dice.addEventListener('click', () => { set(Math.floor(Math.random() * (high + 1))); trigger('release'); });
lock.addEventListener('click', () => lock.setAttribute('aria-pressed', String(lock.getAttribute('aria-pressed') !== 'true')));

// The chosen model may have other timesteps than the one before.
watch('high', () => { high = props.high; marks = log ? [...looks.marks.filter(mark => mark < high), high] : looks.marks; lay(); });
watch('value', () => show(true));
lay();
