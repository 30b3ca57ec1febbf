// What a way goes through, a card each: a seed, or a picture or latent, which go the way of Gradio's file input, out of sight.
// A mode takes the first cards, as many as it may have; where it needs more, seeds count up. Texts are set as text.
const [group, said] = ['.ends', '.said'].map(selector => element.querySelector(selector));
const DICE = 'M3 2.5h10v11H3zM5.8 5.6h.1M10.1 5.6h.1M5.8 10.4h.1M10.1 10.4h.1M8 8h.1', UP = 'M8 11V3M4.8 6 8 2.8 11.2 6M2.5 11v2.2h11V11';
const LIMITS = JSON.parse(group.dataset.looks);
let ends = [], open = null;

const limits = () => LIMITS[document.body.dataset.mode] ?? [2, 2];
const shown = () => ends.slice(0, limits()[1]);
const next = () => ({seed: ((ends.findLast(end => end.seed !== undefined)?.seed ?? 6) + 1) % 2 ** 32});

function tool(parent, label, sign, act) {
  const button = make('button', '', parent, sign.length < 4 ? sign : undefined);
  if (sign.length > 3) icon(button, sign);
  button.setAttribute('aria-label', label);
  button.title = label;
  button.addEventListener('click', act);
  return button;
}

// What changes is told as a whole.
function tell(now) {
  ends = now;
  open = null;
  props.value = {ends};
  draw();
  trigger('input');
}
const put = (i, end) => tell(ends.map((old, k) => k === i ? end : old));

function thumbnail(end, parent) {
  const source = end.thumb ?? window.endPictures?.[end.seed];
  const node = make(source ? 'img' : 'span', 'picture', parent, source ? undefined : '?');
  if (source) Object.assign(node, {src: source, alt: end.seed === undefined ? `${end.name} ${end.about ?? ''}`.trim() : `seed ${end.seed}`});
}

function card(end, i, count) {
  if (i) make('span', 'arrow', group, '→').ariaHidden = 'true';
  const place = make('div', 'end', group), letter = String.fromCharCode(65 + i);
  thumbnail(end, place);
  const about = make('div', '', place), name = make('div', 'name', about);
  if (end.seed === undefined) {
    make('span', '', name, /^\d/.test(end.name) ? end.name : `${end.name} ${letter}`);
    if (end.about) make('small', '', about, end.about);
  }
  else {
    const label = make('label', '', name, 'Seed '), field = make('input', '', label);
    Object.assign(field, {type: 'text', inputMode: 'numeric', value: end.seed, ariaLabel: `Seed of end ${letter}`});
    field.addEventListener('change', () => put(i, {seed: /^\d{1,12}$/.test(field.value.trim()) ? +field.value : field.value}));
  }
  const tools = make('div', 'tools', about);
  tool(tools, `Roll the seed of end ${letter}`, DICE, () => put(i, {seed: Math.floor(Math.random() * 1000)}));
  tool(tools, `A picture or latent file as end ${letter}`, UP, () => ask(i));
  const menu = make('div', 'menu', place), more = tool(tools, `More of end ${letter}`, '···', () => { open = open === i ? null : i; draw(); });
  more.setAttribute('aria-expanded', String(open === i));
  menu.hidden = open !== i;
  const acts = [['Move left', i > 0, () => move(i, i - 1)], ['Move right', i < count - 1, () => move(i, i + 1)], ['Remove', count > limits()[0], () => tell(ends.filter((_, k) => k !== i))]];
  acts.forEach(([words, can, act]) => { const button = make('button', '', menu, words); button.disabled = !can; button.addEventListener('click', act); });
}

function move(i, k) {
  const now = [...ends];
  [now[i], now[k]] = [now[k], now[i]];
  tell(now);
}

function ask(i) {
  const input = document.querySelector('#ends-upload input[type=file]');
  window.endAsked = i;
  if (input) { input.value = ''; input.click(); }
}

function draw() {
  const focused = element.getRootNode().activeElement?.ariaLabel, [least, most] = limits();
  while (ends.length < least) ends = [...ends, next()];
  if (ends.length > (props.value?.ends?.length ?? 0)) props.value = {ends};
  group.replaceChildren();
  const all = shown();
  all.forEach((end, i) => card(end, i, all.length));
  if (document.body.dataset.mode === 'loop') make('span', 'arrow', group, '↺').ariaHidden = 'true';
  if (all.length < most) make('button', 'add', group, '+ Add an end').addEventListener('click', () => tell([...ends, next()]));
  said.textContent = props.value?.said ?? '';
  if (focused) [...group.querySelectorAll('input, button')].find(node => node.ariaLabel === focused)?.focus();
}

function take() {
  ends = Array.isArray(props.value?.ends) ? props.value.ends : [];
  draw();
}
document.addEventListener('mode', draw);
document.addEventListener('filmed', draw);
document.addEventListener('click', event => { if (open !== null && !event.composedPath().includes(group)) { open = null; draw(); } });
watch('value', take);
take();
