// A picture's way up to its noise and down again, with the verdict first. Texts are set as text, pictures are drawn.
const $ = selector => element.querySelector(selector);
const root = $('.invert'), bar = $('.verdict'), scrub = $('.scrub'), note = $('.note'), play = $('.play');
const SIGNS = {good: '✓', near: '≈', bad: '!', plain: '', wait: ''};
let run = null, frames = [], ends = {}, key = '', timer = null, follow = true;

const canvasOf = slot => $(`figure[data-slot="${slot}"] canvas`);
const words = (slot, text) => { $(`figure[data-slot="${slot}"] figcaption span`).textContent = text ?? ''; };
const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };
function paint(canvas, image) {
  if (!image) { canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height); return; }
  canvas.width = image.width; canvas.height = image.height;
  canvas.style.aspectRatio = `${image.width} / ${image.height}`;
  canvas.getContext('2d').drawImage(image, 0, 0);
}

// ---- the verdict ---------------------------------------------------------------------------------------------------

function say({kind, first, second, actions}) {
  bar.className = `verdict ${kind}`;
  $('.sign').textContent = SIGNS[kind];
  $('.first').textContent = first;
  $('.second').textContent = second;
  $('.actions').replaceChildren();
  actions.forEach(offer);
  $('figure[data-slot="back"]').classList.toggle('bad', kind === 'bad');
}

function offer(action) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = action.words;
  button.addEventListener('click', () => trigger('select', {act: action.act, value: action.value}));
  $('.actions').append(button);
}

// Another way up that was found exact meanwhile.
document.addEventListener('advice', ({detail}) => {
  if (detail.key !== key || !bar.classList.contains('bad') || $('.second').textContent === detail.second) return;
  if (!$('.second').textContent) $('.second').textContent = detail.second;
  if (detail.action && ![...$('.actions').children].some(button => button.textContent === detail.action.words)) offer(detail.action);
});

// ---- pictures ------------------------------------------------------------------------------------------------------

const at = () => frames[+scrub.value];

// Going up the noise grows in the middle; going down the picture comes back at the right.
function show(place) {
  scrub.value = place;
  const frame = at();
  if (!frame) return;
  const isUp = frame.phase === 'up', up = frames.filter(other => other.phase === 'up');
  const last = place === frames.length - 1;
  paint(canvasOf('latent'), isUp ? frame.image : ends.latent ?? up[up.length - 1]?.image);
  paint(canvasOf('back'), isUp ? null : last && ends.back ? ends.back : frame.image);
  const said = `${frame.phase}, step ${frame.k} of ${frame.of} · t ${frame.t}`;
  note.textContent = said;
  scrub.setAttribute('aria-valuetext', said);
}

function minis(phase) {
  const place = $(`.minis[data-phase="${phase}"] div`), of = frames.filter(frame => frame.phase === phase);
  const chosen = of.length < 6 ? of : [0, 1, 2, 3, 4, 5].map(i => of[Math.round(i * (of.length - 1) / 5)]);
  while (place.children.length < 6) place.append(document.createElement('canvas'));
  [...place.children].forEach((canvas, i) => paint(canvas, chosen[i]?.image));
}

// ---- what arrives --------------------------------------------------------------------------------------------------

function begin(value) {
  stop();
  run = value.run; frames = []; ends = {}; follow = true; key = '';
  say({kind: 'wait', first: 'On its way up', second: '', actions: []});
  ['latent', 'back'].forEach(slot => { paint(canvasOf(slot), null); words(slot, ''); });
  ['up', 'down'].forEach(phase => { minis(phase); $(`.minis[data-phase="${phase}"] > span`).textContent = ''; });
  scrub.max = 0;
  if (!value.stored) document.dispatchEvent(new CustomEvent('inverted', {detail: {key: ''}}));
}

let line = Promise.resolve();
const take = value => { line = line.then(() => draw(value)).catch(() => {}); };

async function draw(value) {
  if (!value?.run) return;
  if (value.fresh || run !== value.run) begin(value);
  root.setAttribute('aria-busy', String(!value.complete));
  if (value.original) paint(canvasOf('original'), await load(value.original));
  const known = new Set(frames.map(frame => frame.phase + frame.k));
  const fresh = await Promise.all((value.frames ?? []).filter(frame => !known.has(frame.phase + frame.k)).map(async frame => ({...frame, image: await load(frame.picture)})));
  if (fresh.length) {
    frames.push(...fresh);
    scrub.max = frames.length - 1;
    ['up', 'down'].forEach(minis);
    if (follow) show(frames.length - 1);
    if (!value.complete && frames.some(frame => frame.phase === 'down')) $('.first').textContent = 'On its way down';
  }
  if (!value.complete) { if (value.note) note.textContent = value.note; return; }
  for (const slot of ['latent', 'back']) if (value[slot]) { ends[slot] = await load(value[slot]); paint(canvasOf(slot), ends[slot]); }
  if (value.verdict) say(value.verdict); else say({kind: 'bad', first: value.note || 'It could not be run.', second: '', actions: []});
  words('latent', value.latent_note);
  words('back', value.back_note);
  const [up, down] = value.evaluations ?? [];
  if (up !== undefined) $('.minis[data-phase="up"] > span').textContent = up ? `${up} evaluations` : '';
  if (down !== undefined) $('.minis[data-phase="down"] > span').textContent = `${down} evaluations`;
  if (follow && frames.length) show(frames.length - 1);
  key = value.key ?? '';
  root.dataset.drawn = value.run;
  root.dataset.verdict = value.verdict?.kind ?? 'bad';
  if (key && !value.stored) document.dispatchEvent(new CustomEvent('inverted', {detail: {key}}));
}

// ---- controls ------------------------------------------------------------------------------------------------------

function stop() { clearInterval(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }
scrub.addEventListener('input', () => { stop(); follow = +scrub.value === +scrub.max; show(+scrub.value); });
play.addEventListener('click', () => {
  if (timer) return stop();
  if (!frames.length) return;
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  let place = +scrub.value >= +scrub.max ? -1 : +scrub.value;
  const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
  timer = setInterval(() => { show(++place); if (place >= +scrub.max) { follow = true; stop(); } }, calm ? 500 : 140);
});

watch('value', () => { window.filled('invert'); take(props.value); });
take(props.value);
