// Draws the frames of a run. Values come as JSON; texts are set with textContent, pictures with drawImage, never as markup.
const $ = selector => element.querySelector(selector);
const [arms, scrub, read, hint, play, flip] = ['.arms', '.scrub', '.read', '.hint', '.play', '.flip'].map($);
let run = null;        // what the value says of the run, its frames aside
let frames = [];       // frames[arm][k] = {t, alpha_bar, sigma, x_t: Image, pred_x0: Image}
let figures = [];      // one per arm, then the difference of the first two
let view = 'pred_x0', flipped = false, follow = true, timer = null;

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
    note.textContent = `seed ${seed}`;
    return {canvas, note, context: canvas.getContext('2d', {willReadFrequently: true})};
  });
  return {figure, title, about, cells};
}

function build() {
  arms.setAttribute('aria-busy', 'true');
  arms.replaceChildren();
  figures = run.arms.map((arm, number) => makeFigure(arm.label, number));
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
  const at = +scrub.value, shown = run.arms.map((_, arm) => frameAt(arm, at));
  const pair = flipped && run.arms.length > 1 ? [1, 0] : [0, 1];
  run.arms.forEach((arm, place) => {
    const source = place < 2 ? pair[place] ?? place : place;
    const frame = shown[source], figure = figures[place];
    figure.about.textContent = (source === place ? '' : `showing ${run.arms[source].label}, `) + run.arms[source].note;
    if (!frame) return;
    figure.cells.forEach(({canvas, context}, i) => {
      context.imageSmoothingEnabled = false;
      context.drawImage(frame[1][view], i * run.width, 0, run.width, run.height, 0, 0, run.width, run.height);
      canvas.setAttribute('aria-label', `${run.arms[source].label}, seed ${run.seeds[i]}, step ${frame[0] + 1} of ${run.arms[source].steps}`);
    });
  });
  if (run.arms.length > 1 && shown[0] && shown[1]) drawDifference();
  const words = describe(shown);
  read.textContent = words;
  scrub.setAttribute('aria-valuetext', words);
}

function drawDifference() {
  const atEnd = +scrub.value >= +scrub.max;   // the scores are of the finished pictures
  const {width, height} = run, last = figures[figures.length - 1];
  last.cells.forEach(({canvas, context, note}, i) => {
    const [a, b] = [0, 1].map(place => figures[place].cells[i].context.getImageData(0, 0, width, height).data);
    const out = context.createImageData(width, height);
    for (let p = 0; p < a.length; p += 4) {
      const apart = (Math.abs(a[p] - b[p]) + Math.abs(a[p + 1] - b[p + 1]) + Math.abs(a[p + 2] - b[p + 2])) / 3;
      out.data.set([...heat(apart), 255], p);
    }
    context.putImageData(out, 0, 0);
    canvas.setAttribute('aria-label', `Absolute difference of the two pictures of seed ${run.seeds[i]}`);
    const scores = atEnd ? run.scores : null;
    note.textContent = scores ? `${scores.psnr[i] === null ? 'equal' : scores.psnr[i].toFixed(1) + ' dB'}, SSIM ${scores.ssim[i].toFixed(2)}` : `seed ${run.seeds[i]}`;
  });
  last.about.textContent = atEnd && run.scores ? `PSNR ${mean(run.scores.psnr)}` : '';
}

// Of the pictures together: from the mean of their squared errors, so that equal ones (null) count too.
function mean(values) {
  const error = values.reduce((sum, value) => sum + (value === null ? 0 : 10 ** (-value / 10)), 0) / values.length;
  return error ? `${(-10 * Math.log10(error)).toFixed(1)} dB` : '∞';
}

function describe(shown) {
  const known = shown.map((frame, arm) => frame && [arm, ...frame]).filter(Boolean);
  if (!known.length) return '';
  const [arm, k, frame] = known.reduce((a, b) => run.arms[a[0]].steps >= run.arms[b[0]].steps ? a : b);
  const sigmas = known.slice(0, 4).map(([, , f]) => number(f.sigma)).join(' | ');
  return `step ${k + 1} of ${run.arms[arm].steps} · t ${frame.t} · ᾱ ${number(frame.alpha_bar)} · σ ${sigmas}`;
}

// ---- taking values -------------------------------------------------------------------------------------------------

const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

async function take(value) {
  if (!value || !value.run) return;
  if (!run || run.run !== value.run) {
    run = {...value, frames: null};
    frames = run.arms.map(() => []);
    follow = true;
    scrub.max = Math.max(...run.arms.map(arm => arm.steps)) - 1;
    scrub.value = 0;
    hint.textContent = value.hint || (run.thinned > 1 ? `A long run: every ${run.thinned}th step is kept for the replay.` : '');
    build();
  }
  const mine = run;
  if (value.scores) run.scores = value.scores;
  await Promise.all(value.frames.map(async frame => {
    if (frames[frame.arm][frame.k]) return;
    const [x_t, pred_x0] = await Promise.all([load(frame.x_t), load(frame.pred_x0)]);
    if (run === mine) frames[frame.arm][frame.k] = {...frame, x_t, pred_x0};
  }));
  if (run !== mine) return;
  if (follow) {
    const longest = run.arms.reduce((a, arm, i) => arm.steps > run.arms[a].steps ? i : a, 0);
    scrub.value = frames[longest].length - 1;
  }
  draw();
  if (!value.complete) return;
  arms.setAttribute('aria-busy', 'false');
  arms.dataset.drawn = run.run;
}

// ---- controls ------------------------------------------------------------------------------------------------------

function pause() { clearInterval(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }
function goTo(at) { follow = false; scrub.value = at; draw(); }

scrub.addEventListener('input', () => { pause(); goTo(scrub.value); });
$('.first').addEventListener('click', () => { pause(); goTo(0); });
$('.last').addEventListener('click', () => { pause(); goTo(scrub.max); });
play.addEventListener('click', () => {
  if (timer) return pause();
  if (+scrub.value >= +scrub.max) goTo(0);
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  timer = setInterval(() => +scrub.value < +scrub.max ? goTo(+scrub.value + 1) : pause(), Math.max(30, Math.min(200, 4000 / (+scrub.max + 1))));
});
element.querySelectorAll('.view').forEach(button => button.addEventListener('click', () => {
  view = button.dataset.view;
  element.querySelectorAll('.view').forEach(other => other.setAttribute('aria-pressed', String(other === button)));
  draw();
}));
flip.addEventListener('click', () => { flipped = !flipped; flip.setAttribute('aria-pressed', String(flipped)); draw(); });

watch('value', () => take(props.value));
take(props.value);
