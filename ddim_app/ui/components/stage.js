// Draws the frames of a run. Values come as JSON; texts are set with textContent, pictures with drawImage, never as markup.
const $ = selector => element.querySelector(selector);
const [root, arms, scrub, read, hint, play, flip, loop, speed, versus, other] =
  ['.stage', '.arms', '.scrub', '.read', '.hint', '.play', '.flip', '.loop', '.speed', '.versus', '.other'].map($);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
let run = null;        // what the value says of the run, its frames aside
let frames = [];       // frames[arm][k] = {t, alpha_bar, sigma, x_t: Image, pred_x0: Image}
let places = [];       // the steps of the longest arm that can be shown, in order
let figures = [];      // one per arm, then the difference to the first
let view = 'pred_x0', turn = 0, follow = true, timer = null, drawn = 0;

const make = (name, className, parent) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  parent.append(node);
  return node;
};

// ---- figures -------------------------------------------------------------------------------------------------------

function makeFigure(title, number) {
  const figure = make('figure', '', arms), caption = make('figcaption', '', figure), name = make('b', '', caption);
  if (number !== null) { make('i', 'dot', name).dataset.arm = number; }
  name.append(title);
  const about = make('span', '', caption), grid = make('div', 'grid', figure);
  const columns = Math.ceil(Math.sqrt(run.seeds.length));
  grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  const cells = run.seeds.map(seed => {
    const cell = make('div', 'cell', grid), canvas = make('canvas', '', cell), note = make('small', '', cell);
    canvas.width = run.width; canvas.height = run.height;
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', `${title}, seed ${seed}, not drawn yet`);
    note.textContent = `seed ${seed}`;
    return {canvas, note, context: canvas.getContext('2d', {willReadFrequently: true})};
  });
  return {figure, about, cells, where: make('small', 'where', figure)};
}

function build() {
  arms.setAttribute('aria-busy', 'true');
  arms.replaceChildren();
  turn = 0;
  showPressed(flip, false);
  figures = run.arms.map((arm, number) => makeFigure(arm.label, number));
  flip.hidden = run.arms.length < 2;
  versus.hidden = run.arms.length < 3;
  other.replaceChildren();
  run.arms.slice(1).forEach((arm, at) => { const choice = make('option', '', other); choice.value = at + 1; choice.textContent = arm.label; });
  if (run.arms.length < 2) return;
  const difference = makeFigure('Difference', null);
  difference.figure.classList.add('difference');
  const scale = make('div', 'scale', difference.figure);
  make('span', '', scale).textContent = '0';
  make('i', '', scale).style.background = `linear-gradient(90deg, ${[0, 64, 128, 192, 255].map(v => `rgb(${heat(v)})`)})`;
  make('span', '', scale).textContent = '255 levels apart';
  figures.push(difference);
}

// Dark to bright, ordered by lightness, so that it also reads in grey.
function heat(value) {
  const stops = [[24, 16, 48], [96, 32, 96], [190, 70, 60], [245, 150, 20], [255, 240, 190]];
  const at = Math.min(value / 255, 0.9999) * 4, low = Math.floor(at);
  return stops[low].map((from, i) => Math.round(from + (stops[low + 1][i] - from) * (at - low)));
}
const HEAT = Array.from({length: 256}, (_, value) => heat(value));

// ---- drawing -------------------------------------------------------------------------------------------------------

// The frame of an arm at scrubber position `at`: arms of other lengths move in proportion, thinned steps show the next one.
function frameAt(arm, at) {
  const steps = run.arms[arm].steps, longest = +scrub.max;
  let k = longest ? Math.round(at / longest * (steps - 1)) : steps - 1;
  const list = frames[arm];
  for (let up = k; up < steps; up++) if (list[up]) return [up, list[up]];
  for (; k >= 0; k--) if (list[k]) return [k, list[k]];
  return null;
}

const number = value => value === 0 ? '0' : value >= 0.001 ? value.toFixed(3) : value.toExponential(1);

function draw() {
  if (!run) return;
  drawn = performance.now();
  const at = +scrub.value, shown = run.arms.map((_, arm) => frameAt(arm, at));
  const uneven = new Set(run.arms.map(arm => arm.steps)).size > 1;
  run.arms.forEach((arm, place) => {
    const source = (place + turn) % run.arms.length, from = run.arms[source];
    const frame = shown[source], figure = figures[place];
    setText(figure.about, (turn ? `showing ${from.label}, ` : '') + from.note);
    if (!frame) return;
    const [k, {[view]: strip, t}] = frame, width = strip.width / run.seeds.length;
    figure.cells.forEach(({canvas, context}, i) => {
      context.imageSmoothingEnabled = false;
      context.drawImage(strip, i * width, 0, width, strip.height, 0, 0, run.width, run.height);
      canvas.setAttribute('aria-label', `${from.label}, seed ${run.seeds[i]}, step ${k + 1} of ${from.steps}`);
    });
    setText(figure.where, uneven ? `step ${k + 1} of ${from.steps} · t ${t}` : '');
  });
  drawDifference(shown);
  const words = describe(shown);
  setText(read, words);
  scrub.setAttribute('aria-valuetext', words);
}

function setText(node, words) { if (node.textContent !== words) node.textContent = words; }

function drawDifference(shown) {
  const to = +other.value;   // an arm; 0 when there is but one
  if (!to || !shown[0] || !shown[to]) return;
  const atEnd = +scrub.value >= +scrub.max;   // the scores are of the finished pictures
  const {width, height} = run, last = figures[figures.length - 1], scores = atEnd && run.scores ? run.scores[to] : null;
  const [a, b] = [0, to].map(arm => (arm - turn + run.arms.length) % run.arms.length);   // the places where the two are shown
  last.cells.forEach(({canvas, context, note}, i) => {
    const [one, two] = [a, b].map(place => figures[place].cells[i].context.getImageData(0, 0, width, height).data);
    const out = context.createImageData(width, height), data = out.data;
    for (let p = 0; p < one.length; p += 4) {
      const apart = Math.abs(one[p] - two[p]) + Math.abs(one[p + 1] - two[p + 1]) + Math.abs(one[p + 2] - two[p + 2]);
      [data[p], data[p + 1], data[p + 2]] = HEAT[Math.round(apart / 3)];
      data[p + 3] = 255;
    }
    context.putImageData(out, 0, 0);
    canvas.setAttribute('aria-label', `Absolute difference of ${run.arms[0].label} and ${run.arms[to].label}, seed ${run.seeds[i]}`);
    setText(note, scores ? `${scores.psnr[i] === null ? 'equal' : scores.psnr[i].toFixed(1) + ' dB'}, SSIM ${scores.ssim[i].toFixed(2)}` : `seed ${run.seeds[i]}`);
  });
  setText(last.about, scores ? `PSNR ${mean(scores.psnr)}` : '');
}

// Of the pictures together: from the mean of their squared errors, so that equal ones (null) count too.
function mean(values) {
  const error = values.reduce((sum, value) => sum + (value === null ? 0 : 10 ** (-value / 10)), 0) / values.length;
  return error ? `${(-10 * Math.log10(error)).toFixed(1)} dB` : '∞';
}

// Step, t and ᾱ of the longest arm; sigma and the evaluations so far of each, one number where all are equal.
function describe(shown) {
  const known = shown.map((frame, arm) => frame && [arm, ...frame]).filter(Boolean);
  if (!known.length) return '';
  const [arm, k, frame] = known.reduce((a, b) => run.arms[a[0]].steps >= run.arms[b[0]].steps ? a : b);
  const each = values => new Set(values).size > 1 ? values.slice(0, 8).join(' | ') : values[0];
  const sigma = each(known.map(([, , f]) => number(f.sigma))), nfe = each(known.map(([, at]) => at + 1));
  return `step ${k + 1} of ${run.arms[arm].steps} · t ${frame.t} · ᾱ ${number(frame.alpha_bar)} · σ ${sigma} · NFE ${nfe}`;
}

// ---- taking values -------------------------------------------------------------------------------------------------

const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

async function take(value) {
  if (!value || !value.run) return;
  if (!run || run.run !== value.run) {
    pause();
    run = {...value, frames: null};
    frames = run.arms.map(() => []);
    places = [];
    follow = true;
    scrub.max = Math.max(...run.arms.map(arm => arm.steps)) - 1;
    scrub.value = 0;
    setText(hint, value.hint || '');
    build();
  }
  const mine = run, longest = run.arms.findIndex(arm => arm.steps - 1 === +scrub.max);
  if (value.scores) run.scores = value.scores;
  await Promise.all(value.frames.map(async frame => {
    if (frames[frame.arm][frame.k]) return;
    const [x_t, pred_x0] = await Promise.all([load(frame.x_t), load(frame.pred_x0)]);
    if (run !== mine || frames[frame.arm][frame.k] || (run.whole && !value.complete)) return;
    frames[frame.arm][frame.k] = {...frame, x_t, pred_x0};
  }));
  if (run !== mine) return;
  if (value.complete) { run.whole = true; thin(value.frames); }
  places = Object.keys(frames[longest]).map(Number);
  if (follow && places.length) scrub.value = places[places.length - 1];
  // Who wants little motion sees a run advance once a second.
  if (value.complete || !calm.matches || performance.now() - drawn > 1000) draw();
  if (!value.complete) return;
  arms.setAttribute('aria-busy', 'false');
  arms.dataset.drawn = run.run;
}

// Drops the frames that were only shown while they were the newest, so that a long run is replayed at an even pace.
function thin(kept) {
  const keep = new Set(kept.map(frame => `${frame.arm} ${frame.k}`));
  frames.forEach((list, arm) => list.forEach((_, k) => { if (!keep.has(`${arm} ${k}`)) delete list[k]; }));
}

// ---- controls ------------------------------------------------------------------------------------------------------

const showPressed = (button, on) => button.setAttribute('aria-pressed', String(on));

function pause() { clearTimeout(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }
function goTo(at) { follow = false; scrub.value = at; draw(); }

// The nearest step that can be shown, `by` steps before or behind the one shown.
function move(by) {
  const at = +scrub.value, next = by > 0 ? places.find(k => k > at) : places.findLast(k => k < at);
  if (next !== undefined) goTo(next);
}

// A whole run takes about four seconds at speed 1; who wants little motion gets at most two pictures a second.
function period() {
  const each = Math.max(40, Math.min(250, 4000 / Math.max(1, places.length))) / +speed.value;
  return calm.matches ? Math.max(500, each) : Math.max(16, each);
}

function tick() {
  if (+scrub.value < +scrub.max) move(1);
  else if (loop.getAttribute('aria-pressed') === 'true') goTo(0);
  const more = +scrub.value < +scrub.max || loop.getAttribute('aria-pressed') === 'true';
  if (more) timer = setTimeout(tick, period()); else pause();
}

function toggle() {
  if (timer) return pause();
  if (+scrub.value >= +scrub.max) goTo(0);
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  timer = setTimeout(tick, period());
}

function turnOver() {
  turn = (turn + 1) % run.arms.length;
  showPressed(flip, turn > 0);
  draw();
}

const moves = {
  ArrowLeft: () => move(-1), ArrowDown: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(1),
  Home: () => goTo(0), End: () => goTo(scrub.max),
};

scrub.addEventListener('input', () => { pause(); goTo(scrub.value); });
$('.first').addEventListener('click', () => { pause(); moves.Home(); });
$('.back').addEventListener('click', () => { pause(); move(-1); });
$('.forth').addEventListener('click', () => { pause(); move(1); });
$('.last').addEventListener('click', () => { pause(); moves.End(); });
play.addEventListener('click', toggle);
flip.addEventListener('click', turnOver);
loop.addEventListener('click', () => showPressed(loop, loop.getAttribute('aria-pressed') !== 'true'));
other.addEventListener('change', draw);
arms.addEventListener('click', () => scrub.focus());
element.querySelectorAll('.view').forEach(button => button.addEventListener('click', () => {
  view = button.dataset.view;
  element.querySelectorAll('.view').forEach(each => showPressed(each, each === button));
  draw();
}));
root.addEventListener('keydown', event => {
  const {key, target} = event;
  if (!run || event.ctrlKey || event.metaKey || event.altKey || target.matches('select')) return;
  if (moves[key]) { pause(); moves[key](); }
  else if (key === ' ' && !target.matches('button')) toggle();
  else if (key.toLowerCase() === 'f' && !flip.hidden) turnOver();
  else return;
  event.preventDefault();
});

watch('value', () => take(props.value));
take(props.value);
