// The steps of the run that the stage shows: what plays them, a film of one picture, and charts. The stage draws; what it shows is
// heard of by the event `drawn`, and where it should go is told by the event `show`.
const $ = selector => element.querySelector(selector);
const [root, scrub, read, about, hint, play, loop, speed, film, moved, still, size] = ['.replay', '.scrub', '.read', '.about', '.hint', '.play', '.loop', '.speed', '.film', '.moved', '.still', '.size'].map($);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const isSmall = matchMedia('(max-width: 700px)').matches, FILM = isSmall ? 6 : 11;
let shown = null, cells = [], built = '', charted = '', picture = 0, timer = null;

const showPressed = (button, on) => button.setAttribute('aria-pressed', String(on));
const setText = (node, words) => { if (node.textContent !== words) node.textContent = words; };
const number = value => value === 0 ? '0' : value >= 0.001 ? value.toFixed(3) : value.toExponential(1);

// ---- what is shown -------------------------------------------------------------------------------------------------

document.addEventListener('drawn', ({detail}) => {
  if (shown && shown.run.run !== detail.run.run) pause();
  shown = detail;
  scrub.max = detail.most;
  scrub.value = detail.at;
  const [place, more] = describe();
  setText(read, place);
  setText(about, more);
  scrub.setAttribute('aria-valuetext', [place, more].filter(Boolean).join(' · '));
  const missing = detail.run.again && 'The steps of this run did not come. Play asks for them again.';
  setText(hint, isStored() ? 'These pictures are stored. Play computes their steps.' : missing || detail.run.hint || '');
  drawFilm();
  drawCharts();
});

// Step, t and ᾱ of the longest arm; then sigma and the evaluations so far of each, one number where all are equal.
function describe() {
  const {run, at, frameAt} = shown, known = run.arms.map((_, arm) => [arm, frameAt(arm, at)]).filter(([, frame]) => frame).map(([arm, frame]) => [arm, ...frame]);
  if (!known.length) return ['', ''];
  const {seeds} = run, one = Math.min(picture, seeds.length - 1), whose = `Picture ${one + 1} of ${seeds.length}, seed ${seeds[one]}`;
  if (isStored()) return ['stored, fp32', whose];
  const [arm, k, frame] = known.reduce((a, b) => run.arms[a[0]].steps >= run.arms[b[0]].steps ? a : b);
  const each = values => new Set(values).size > 1 ? values.slice(0, 8).join(' | ') : values[0];
  const sigma = each(known.map(([, , f]) => number(f.sigma))), nfe = each(known.map(([a, to]) => (to + 1) * (run.arms[a].width ?? 1)));
  if (isSmall) return [`${k + 1} of ${run.arms[arm].steps}`, ''];
  return [`step ${k + 1} of ${run.arms[arm].steps} · t ${frame.t} · ᾱ ${number(frame.alpha_bar)}`, `σ ${sigma} · NFE ${nfe} · ${whose}`];
}

const isStored = () => Boolean(shown?.frameAt(0, shown.at)?.[1].stored);

// ---- the film ------------------------------------------------------------------------------------------------------

// Places of the longest arm, evenly taken, the first and the last among them.
function chosen() {
  const {places} = shown, count = Math.min(places.length, FILM - 1);
  return Array.from({length: count}, (_, i) => places[count > 1 ? Math.round(i * (places.length - 1) / (count - 1)) : 0]);
}

function drawFilm() {
  const {run, most, at, view} = shown, stops = chosen(), key = [run.run, picture, view, shown.loaded, ...stops].join();
  if (key !== built) {
    built = key;
    const start = run.noise ? 1 : 0;
    film.style.setProperty('--places', Math.max(stops.length + start, FILM));
    film.replaceChildren();
    make('b', '', film);
    if (start) make('b', '', film, 'x').append(Object.assign(document.createElement('sub'), {textContent: 'T'}));
    stops.forEach(k => make('b', '', film, k + 1));
    cells = run.arms.map((arm, number) => {
      make('b', 'name', film, arm.name).style.color = colourOf(number);
      film.lastChild.style.gridColumn = 1;
      if (start) cut(make('canvas', '', film), run.noise);
      return stops.map((k, i) => {
        const button = make('button', '', film), frame = shown.frameAt(number, k), canvas = make('canvas', '', button);
        button.type = 'button';
        button.tabIndex = -1;
        button.setAttribute('aria-label', `${arm.label}, step ${k + 1} of ${most + 1}`);
        button.addEventListener('click', () => { pause(); goTo(k); });
        button.addEventListener('keydown', event => walk(event, number, i));
        if (frame) cut(canvas, frame[0] === arm.steps - 1 ? frame[1].x_t : frame[1][view]);
        return {button, k};
      });
    });
  }
  cells.forEach((row, arm) => row.forEach(({button, k}, i) => {
    const isHere = k === at || (at > k && (row[i + 1]?.k ?? Infinity) > at);
    button.classList.toggle('here', isHere);
    if (!arm && isHere) cells.flat().forEach(each => { each.button.tabIndex = each.button === button ? 0 : -1; });
  }));
}

// One picture of a strip of all.
function cut(canvas, strip) {
  const {run} = shown, width = strip.width / run.seeds.length, at = Math.min(picture, run.seeds.length - 1);
  [canvas.width, canvas.height] = [Math.round(width), strip.height];
  canvas.getContext('2d').drawImage(strip, at * width, 0, width, strip.height, 0, 0, canvas.width, canvas.height);
}

function walk(event, arm, column) {
  const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key], next = by && cells[arm + by[0]]?.[column + by[1]];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  if (!next) return;
  cells.flat().forEach(({button}) => { button.tabIndex = -1; });
  next.button.tabIndex = 0;
  next.button.focus();
}

document.addEventListener('picture', ({detail}) => { picture = detail; tell({}); });

// ---- charts --------------------------------------------------------------------------------------------------------

function drawCharts() {
  const {run, at, curves} = shown, rows = curves ?? [], key = [run.run, rows.length, at].join();
  if (key === charted) return;
  charted = key;
  const names = [...new Set(rows.map(row => row.arm))];
  const series = value => names.map(name => ({name, points: rows.filter(row => row.arm === name).map(row => [row.step, value(row)])}));
  const of255 = by => value => value === null ? null : by(value);
  drawLines(moved, {title: 'Moved since the last step, of 255', series: series(row => of255(change => change * 127.5)(row.change)), floor: 0, now: at + 1});
  drawLines(still, {title: 'Still to go to the last step, of 255', series: series(row => row.psnr === null ? 0 : 255 / 10 ** (row.psnr / 20)), floor: 0, now: at + 1});
  drawLines(size, {title: 'Size of ε (rms)', series: series(row => row.eps), now: at + 1});
}

// ---- playing -------------------------------------------------------------------------------------------------------

const tell = detail => document.dispatchEvent(new CustomEvent('show', {detail}));
const goTo = at => tell({at: +at});
function pause() { clearTimeout(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }

// The nearest step that can be shown, `by` steps before or behind the one shown.
function move(by) {
  const {at, places} = shown, next = by > 0 ? places.find(k => k > at) : places.findLast(k => k < at);
  if (next !== undefined) goTo(next);
}

// A whole run takes about four seconds at speed 1; who wants little motion gets at most two pictures a second.
function period() {
  const each = Math.max(40, Math.min(250, 4000 / Math.max(1, shown.places.length))) / +speed.value;
  return calm.matches ? Math.max(500, each) : Math.max(16, each);
}

const isLooped = () => loop.getAttribute('aria-pressed') === 'true';

function tick() {
  if (shown.at < shown.most) move(1);
  else if (isLooped()) goTo(0);
  if (shown.at < shown.most || isLooped()) timer = setTimeout(tick, period()); else pause();
}

async function toggle() {
  if (timer) return pause();
  if (isStored()) return window.press('#run');
  if (shown.run.again && !await shown.run.again()) return;
  if (shown.at >= shown.most) goTo(0);
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  timer = setTimeout(tick, period());
}

const moves = {
  ArrowLeft: () => move(-1), ArrowDown: () => move(-1), ArrowRight: () => move(1), ArrowUp: () => move(1),
  Home: () => goTo(0), End: () => goTo(shown.most),
};
function press(key) {
  if (!shown || !(moves[key] || key === ' ')) return false;
  if (key === ' ') toggle(); else { pause(); moves[key](); }
  return true;
}

scrub.addEventListener('input', () => { pause(); goTo(scrub.value); });
$('.first').addEventListener('click', () => press('Home'));
$('.back').addEventListener('click', () => press('ArrowLeft'));
$('.forth').addEventListener('click', () => press('ArrowRight'));
$('.last').addEventListener('click', () => press('End'));
play.addEventListener('click', () => { if (shown) toggle(); });
loop.addEventListener('click', () => showPressed(loop, !isLooped()));
element.querySelectorAll('.view').forEach(button => button.addEventListener('click', () => {
  element.querySelectorAll('.view').forEach(each => showPressed(each, each === button));
  tell({view: button.dataset.view});
}));
root.addEventListener('keydown', event => {
  const {key, target} = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches('select') || (key === ' ' && target.matches('button'))) return;
  if (press(key)) event.preventDefault();
});
document.addEventListener('replay', ({detail}) => press(detail));
document.dispatchEvent(new CustomEvent('show', {detail: {}}));   // what the stage drew before this was here
