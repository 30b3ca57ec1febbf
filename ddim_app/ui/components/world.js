// A world of two numbers: the same starts by DDIM and by DDPM. What is drawn came from the server; only the density is computed here.
const $ = selector => element.querySelector(selector), all = selector => [...element.querySelectorAll(selector)];
const [root, how, slide, exact, play, wrong, ladder, terms, note] =
  ['.world', '.how', '.slide', '.exact', '.play', '.wrong', '.ladder', '.terms', '.note'].map($);
const canvases = all('.worlds canvas'), captions = all('figcaption span'), MARKS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 100, 150, 250];
const TERMS = [['x', 'next'], '=', ['√ᾱ', 'next'], 'x̂₀', '+', ['√(1 − ᾱ', 'next', ' − σ²)'], 'ε', '+', 'σ', 'z'];
const WIDE = 7, HIGH = 5.6, still = matchMedia('(prefers-reduced-motion: reduce)');
let value = props.value, flying = 0, serial = 0, waiting = false, timer = null, moment = null, playing = 0, cross = null, centres = [];
let asked = {world: value.world, steps: value.steps, starts: value.starts, noise: value.noise, point: value.point, step: value.step};

const unpack = (text, scale) => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0)), view = new DataView(bytes.buffer);
  return Float32Array.from({length: bytes.length / 2}, (_, i) => view.getInt16(2 * i, true) / scale);
};
let points = {};
const read = () => ['paths', 'swarms', 'references', 'data', 'ends'].forEach(name => { points[name] = unpack(value[name], value.scale); });
const color = name => getComputedStyle(element).getPropertyValue(name).trim();

// ---- pictures ------------------------------------------------------------------------------------------------------

function paper(canvas) {
  const width = Math.round(canvas.clientWidth * devicePixelRatio), height = Math.round(canvas.clientHeight * devicePixelRatio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
  const context = canvas.getContext('2d');
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  const unit = Math.min(canvas.clientWidth / WIDE, canvas.clientHeight / HIGH);
  return {context, unit, x: v => canvas.clientWidth / 2 + unit * v, y: v => canvas.clientHeight / 2 - unit * v};
}

// The mixture's density at a level: equal round clouds of variance ab s^2 + 1 - ab around sqrt(ab) mu.
const shade = document.createElement('canvas');
Object.assign(shade, {width: 96, height: 80});
function density({context, unit, x, y}, level) {
  const around = level * value.std ** 2 + 1 - level, root_ab = Math.sqrt(level), values = new Float32Array(96 * 80);
  let most = 0;
  for (let j = 0; j < 80; j++) for (let i = 0; i < 96; i++) {
    const px = (i - 47.5) * 0.085, py = (39.5 - j) * 0.085;
    let sum = 0;
    for (const [cx, cy] of value.centres) sum += Math.exp(-((px - root_ab * cx) ** 2 + (py - root_ab * cy) ** 2) / (2 * around));
    values[j * 96 + i] = sum;
    if (sum > most) most = sum;
  }
  const ink = shade.getContext('2d'), pixels = ink.createImageData(96, 80), [red, green, blue] = color('--quiet').match(/\w\w/g).map(part => parseInt(part, 16));
  values.forEach((sum, i) => pixels.data.set([red, green, blue, 90 * Math.sqrt(sum / most)], 4 * i));
  ink.putImageData(pixels, 0, 0);
  context.drawImage(shade, x(-48 * 0.085), y(40 * 0.085), 96 * 0.085 * unit, 80 * 0.085 * unit);
}

function disc(context, px, py, radius, fill, line) {
  context.beginPath();
  context.arc(px, py, radius, 0, 7);
  if (fill) { context.fillStyle = fill; context.fill(); }
  if (line) { context.strokeStyle = line; context.stroke(); }
}

function draw(arm) {
  const {context, unit, x, y} = paper(canvases[arm]), own = color(`--arm-${arm}`), ink = color('--ink'), card = color('--card'), quiet = color('--quiet');
  if (!canvases[arm].clientWidth) return;
  const count = value.levels.length, now = moment ?? count - 1, k = Math.floor(now), part = now - k;
  const at = (point, k) => { const i = 2 * ((arm * count + k) * value.traced + point); return [points.paths[i], points.paths[i + 1]]; };
  density({context, unit, x, y}, value.levels[moment === null ? count - 1 : Math.round(now)][1]);
  if (moment === null) for (let i = 0; i < points.data.length; i += 2) disc(context, x(points.data[i]), y(points.data[i + 1]), 1.3, quiet);
  else swarm(arm, now, {context, x, y, own});
  context.lineJoin = 'round';
  for (let point = value.traced - 1; point >= 0; point--) {
    const thick = point === value.point;
    context.strokeStyle = context.fillStyle = own;
    context.globalAlpha = thick ? 1 : .55;
    context.lineWidth = thick ? 2.6 : 1.1;
    context.beginPath();
    for (let i = 0; i <= k; i++) context.lineTo(x(at(point, i)[0]), y(at(point, i)[1]));
    if (part) { const [a, b] = [at(point, k), at(point, k + 1)]; context.lineTo(x(a[0] + part * (b[0] - a[0])), y(a[1] + part * (b[1] - a[1]))); }
    context.stroke();
    if (count < 40) for (let i = 1; i <= Math.min(k, count - 2); i++) disc(context, x(at(point, i)[0]), y(at(point, i)[1]), thick ? 2.6 : 1.6, own);
    context.globalAlpha = 1;
  }
  for (let point = 0; point < value.traced; point++) {
    context.lineWidth = 1.2;
    const r = 2 * (arm * value.traced + point);
    context.setLineDash([3, 2]);
    if (moment === null) disc(context, x(points.references[r]), y(points.references[r + 1]), 6.5, null, ink);
    context.setLineDash([]);
    context.lineWidth = 1.6;
    disc(context, x(at(point, 0)[0]), y(at(point, 0)[1]), point === value.point ? 4.6 : 3.4, card, ink);
    if (moment === null) disc(context, x(at(point, count - 1)[0]), y(at(point, count - 1)[1]), 4.4, own, card);
  }
  if (cross && asked.world === 'own') {
    context.strokeStyle = ink;
    for (const [dx, dy] of [[8, 0], [0, 8]]) { context.beginPath(); context.moveTo(x(cross[0]) - dx, y(cross[1]) - dy); context.lineTo(x(cross[0]) + dx, y(cross[1]) + dy); context.stroke(); }
  }
}

function swarm(arm, now, {context, x, y, own}) {
  const frame = Math.max(0, value.frames.findLastIndex(k => k <= now)), next = Math.min(frame + 1, value.frames.length - 1);
  const part = next === frame ? 0 : (now - value.frames[frame]) / (value.frames[next] - value.frames[frame]);
  const at = (frame, i) => points.swarms[2 * (arm * value.frames.length + frame) * value.swarm + i];
  context.globalAlpha = .75;
  for (let i = 0; i < 2 * value.swarm; i += 2) disc(context, x(at(frame, i) + part * (at(next, i) - at(frame, i))), y(at(frame, i + 1) + part * (at(next, i + 1) - at(frame, i + 1))), 2, own);
  context.globalAlpha = 1;
}

function columns() {
  if (ladder.children.length !== value.columns.length) ladder.replaceChildren(...value.columns.map(count => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(document.createElement('b'), document.createElement('canvas'), document.createElement('span'), document.createElement('span'));
    button.addEventListener('click', () => take({steps: count}));
    button.querySelectorAll('span').forEach((span, arm) => { span.dataset.arm = arm; });
    return button;
  }));
  [...ladder.children].forEach((button, column) => {
    const [head, canvas, ...numbers] = button.children, count = value.columns[column], isLast = count === value.reference;
    head.textContent = column ? count : `${count} steps`;
    numbers.forEach((span, arm) => { span.textContent = isLast ? (arm ? '\u00a0' : 'reference') : value.away[arm][column].toFixed(2); span.classList.toggle('quiet', isLast); });
    button.setAttribute('aria-pressed', String(count === asked.steps));
    button.setAttribute('aria-label', isLast ? `${count} steps, the reference` : `${count} steps: DDIM ${value.away[0][column].toFixed(2)}, DDPM ${value.away[1][column].toFixed(2)} from 250 steps`);
    const {context, x, y} = paper(canvas);
    context.globalAlpha = .7;
    for (let i = column * value.swarm * 2; i < (column + 1) * value.swarm * 2; i += 2) disc(context, x(points.ends[i]), y(points.ends[i + 1]), 1.7, color('--arm-0'));
  });
}

// ---- words ---------------------------------------------------------------------------------------------------------

function written() {
  const cell = parts => {
    const span = document.createElement('span');
    [parts].flat().forEach((part, i) => { if (i === 1) span.append(Object.assign(document.createElement('sub'), {textContent: part})); else span.append(part); });
    return span;
  };
  let next = 0;
  const numbers = TERMS.map(term => Object.assign(cell(term === '=' || term === '+' ? term : value.numbers[next++]), {className: 'number'}));
  terms.replaceChildren(...TERMS.map(cell), ...numbers);
  note.textContent = value.note;
}

function say() {
  const words = value.steps === 1 ? '1 step' : `${value.steps} steps`, time = moment === null ? '' : `, t = ${value.levels[Math.min(Math.floor(moment), value.levels.length - 1)][0]}`;
  captions.forEach((span, arm) => { span.textContent = arm ? `η = 1, ${words}, same starts${time}` : `η = 0, ${words}${time}`; });
}

function show() {
  const detail = {name: 'world', question: value.question, right: value.right, answer: value.answer};
  (window.lessons ??= {}).world = detail;  // of a head that comes later
  document.dispatchEvent(new CustomEvent('lesson', {detail}));
  canvases.forEach((canvas, arm) => canvas.setAttribute('aria-label', `${arm ? 'DDPM' : 'DDIM'}: ${value.traced} paths of ${value.steps} steps from noise to the data. ${value.answer}`));
  all('.kinds [data-world]').forEach(button => button.setAttribute('aria-pressed', String(button.dataset.world === asked.world)));
  how.hidden = asked.world !== 'own';
  root.classList.toggle('own', asked.world === 'own');
  written();
  dials();
  paint();
}
const paint = () => { say(); [0, 1].forEach(draw); columns(); };
const dials = () => {
  slide.value = MARKS.findLastIndex(mark => mark <= asked.steps);
  slide.setAttribute('aria-valuetext', asked.steps);
  if (document.activeElement !== exact) exact.value = asked.steps;
};

// ---- what is asked for: one at a time, the newest waits ------------------------------------------------------------

function send() {
  waiting = false;
  flying = ++serial;
  clearTimeout(timer);
  timer = setTimeout(() => { flying = 0; if (waiting) send(); }, 4000);
  trigger('input', {...asked, step: Math.min(asked.step, asked.steps), centres, serial});
}
function take(change) {
  if ('steps' in change && !('step' in change)) change.step = Math.max(1, Math.round(0.75 * change.steps));
  asked = {...asked, ...change};
  stop();
  dials();
  if (flying) waiting = true; else send();
}
function answered() {
  const news = props.value;
  if (news.serial && news.serial < flying) return;
  flying = 0;
  clearTimeout(timer);
  wrong.hidden = !news.wrong;
  if (news.wrong) wrong.textContent = news.wrong; else { stop(); value = news; read(); show(); }
  if (waiting) send();
}

// ---- play ----------------------------------------------------------------------------------------------------------

function stop() { cancelAnimationFrame(playing); clearTimeout(playing); playing = 0; moment = null; play.textContent = 'Play'; }
play.addEventListener('click', () => {
  if (playing) { stop(); paint(); return; }
  const last = value.levels.length - 1, begun = performance.now(), lasts = still.matches ? 500 * last : Math.min(8000, 2500 + 150 * last);
  play.textContent = 'Stop';
  const turn = now => {
    const part = Math.max(0, Math.min(1, (now - begun) / lasts));   // a frame may have begun before the press
    moment = still.matches ? Math.floor(part * last) : part * last;
    if (part === 1) { stop(); paint(); return; }
    say();
    [0, 1].forEach(draw);
    playing = still.matches ? setTimeout(() => turn(performance.now()), 500) : requestAnimationFrame(turn);
  };
  turn(begun);
});

// ---- controls ------------------------------------------------------------------------------------------------------

slide.max = MARKS.length - 1;
slide.addEventListener('input', () => take({steps: MARKS[slide.value]}));
exact.addEventListener('input', () => { if (exact.value) take({steps: exact.valueAsNumber}); });
const other = number => (number + 1 + Math.floor(Math.random() * 998)) % 1000;
$('.starts').addEventListener('click', () => take({starts: other(asked.starts)}));
$('.noise').addEventListener('click', () => take({noise: other(asked.noise)}));
$('.before').addEventListener('click', () => { if (asked.step > 1) take({step: asked.step - 1}); });
$('.after').addEventListener('click', () => { if (asked.step < asked.steps) take({step: asked.step + 1}); });
all('.kinds [data-world]').forEach(button => button.addEventListener('click', () => {
  if (button.dataset.world === 'own' && !centres.length) centres = [[-1.2, 0], [1.2, 0]];
  cross = null;
  take({world: button.dataset.world});
}));
$('.clear').addEventListener('click', () => { if (centres.length > 1) { centres = centres.slice(0, -1); take({}); } });
const put = place => { if (centres.length < 8) { centres = [...centres, place.map(v => Math.round(100 * Math.max(-2.5, Math.min(2.5, v))) / 100)]; take({}); } else { wrong.textContent = 'Eight clouds are the most: take one away first.'; wrong.hidden = false; } };
canvases.forEach((canvas, arm) => {
  canvas.addEventListener('click', event => {
    const unit = Math.min(canvas.clientWidth / WIDE, canvas.clientHeight / HIGH), place = [(event.offsetX - canvas.clientWidth / 2) / unit, (canvas.clientHeight / 2 - event.offsetY) / unit];
    if (asked.world === 'own') return put(place);
    const count = value.levels.length, near = Array.from({length: value.traced}, (_, point) => { const i = 2 * (arm * count * value.traced + point); return Math.hypot(points.paths[i] - place[0], points.paths[i + 1] - place[1]); });
    const point = near.indexOf(Math.min(...near));
    if (near[point] < .4) take({point});
  });
  canvas.addEventListener('keydown', event => {
    const by = {ArrowLeft: [-.1, 0], ArrowRight: [.1, 0], ArrowUp: [0, .1], ArrowDown: [0, -.1]}[event.key];
    if (asked.world !== 'own' || !(by || event.key === 'Enter')) return;
    event.preventDefault();
    if (by) cross = (cross ?? [0, 0]).map((v, i) => Math.max(-2.5, Math.min(2.5, v + by[i]))); else put(cross ?? [0, 0]);
    [0, 1].forEach(draw);
  });
});
new ResizeObserver(() => { if (root.clientWidth) paint(); }).observe(root);
new MutationObserver(paint).observe(document.body, {attributes: true, attributeFilter: ['class']});
watch('value', answered);
read();
show();
