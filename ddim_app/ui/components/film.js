// Frames as they are denoised: one big, all of them in a row or a table, and how far each is from the one before. It plays.
const $ = selector => element.querySelector(selector);
const [root, stage, screens, where, read, mean, plot, scrub, play, speed, table, head, body, hint] =
  ['.film', '.stage', '.screens', '.where', '.read', '.mean', '.plot', '.scrub', '.play', '.speed', 'table', 'thead', 'tbody', '.hint'].map($);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const FIT = matchMedia('(max-width: 700px)').matches ? 8 : 16;   // thumbnails in one row
let run = null;       // what the value says of the run, its pictures aside
let sprites = [];     // of each strip: {k, image} with all its frames side by side
let cells = [];       // cells[strip][frame] = {button, canvas, note}
let figures = [];     // the big canvas of each strip
let stride = 1, timer = null, forward = true;

function canvasIn(parent) {
  const canvas = make('canvas', '', parent);
  canvas.width = run.width; canvas.height = run.height;
  canvas.setAttribute('role', 'img');
  return canvas;
}

// ---- building --------------------------------------------------------------------------------------------------------

function build() {
  table.setAttribute('aria-busy', 'true');
  [head, body, screens].forEach(part => part.replaceChildren());
  sprites = []; figures = []; cells = run.strips.map(() => []);
  const part = +scrub.value / (+scrub.max + 1), ends = run.sources ? 2 : 0, isRow = run.rows.length === 1 && !ends, count = run.order.length;
  stride = isRow ? Math.ceil(count / FIT) : 1;
  table.classList.toggle('row', isRow);
  table.style.width = isRow ? '' : `${120 + (run.columns.length + ends) * (run.columns.length > 7 ? 66 : 92)}px`;
  const top = make('tr', '', head);
  make('td', '', top).style.width = '112px';
  const titles = ends ? ['first', ...run.columns, 'second'] : run.columns;
  titles.forEach(text => { make('th', '', top, text).scope = 'col'; });
  run.rows.forEach(text => {
    const line = make('tr', '', body);
    make('th', '', line, text).scope = 'row';
    titles.forEach((_, column) => { make('td', '', line).hidden = column % stride > 0; });
  });
  run.strips.forEach((strip, number) => {
    run.places.forEach(([row, column], frame) => {
      const place = body.rows[number * run.block + row].cells[1 + column + (ends ? 1 : 0)];
      const button = make('button', '', place), canvas = canvasIn(button), note = make('small', '', button);
      button.type = 'button';
      canvas.removeAttribute('role');   // its button says what it is
      button.setAttribute('aria-label', `${strip.label}, ${run.captions[frame]}`);
      button.addEventListener('click', () => { pause(); show(run.order.indexOf(frame)); });
      cells[number][frame] = {button, canvas, note};
    });
    const figure = make('figure', '', screens);
    make('figcaption', '', figure, strip.label).title = strip.label;
    figures.push(canvasIn(figure));
  });
  screens.style.setProperty('--across', Math.ceil(Math.sqrt(figures.length)));
  stage.hidden = false;
  scrub.max = count - 1;
  scrub.value = Math.round(part * count);   // of the same film with more frames the same place
  hint.textContent = run.hint || '';
}

function drawSources(images) {
  [...body.rows].forEach(line => {
    [[1, images[0]], [line.cells.length - 1, images[1]]].forEach(([at, image]) => {
      const canvas = canvasIn(line.cells[at]);
      line.cells[at].className = 'source';
      canvas.setAttribute('aria-label', 'the picture itself');
      copy(canvas, image, 0);
    });
  });
}

// ---- drawing ---------------------------------------------------------------------------------------------------------

function copy(canvas, sprite, frame) {
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = false;
  context.drawImage(sprite, frame * run.width, 0, run.width, run.height, 0, 0, run.width, run.height);
}

// The ends in the order of the film: [place, name].
const marks = () => (run.marks ?? []).map(([frame, name]) => [run.order.indexOf(frame), name]).sort(([a], [b]) => a - b);

function between(at) {
  const known = marks(), on = known.find(([place]) => place === at);
  if (on) return on[1];
  const before = known.findLast(([place]) => place < at), behind = known.find(([place]) => place > at) ?? (run.closed ? known[0] : undefined);
  return before && behind && run.rows.length === run.strips.length ? `between ${before[1]} and ${behind[1]}` : run.captions[run.order[at]];
}

function show(at) {
  scrub.value = at;
  const place = +scrub.value, frame = run.order[place], one = run.strips.length === 1 ? run.strips[0] : null;
  figures.forEach((canvas, number) => {
    canvas.setAttribute('aria-label', `${run.strips[number].label}, ${run.captions[frame]}`);
    if (sprites[number]) copy(canvas, sprites[number].image, frame);
  });
  const near = stride > 1 ? frame - frame % stride : frame;
  cells.forEach(strip => strip.forEach(({button}, i) => {
    button.setAttribute('aria-pressed', String(i === near));
    button.tabIndex = i === near ? 0 : -1;
  }));
  where.textContent = between(place);
  const parts = [`frame ${place + 1} of ${run.order.length}`, run.closed ? '' : run.captions[frame], one ? `${one.label}, ${one.note}` : ''];
  read.textContent = parts.filter(Boolean).join(' · ');
  scrub.setAttribute('aria-valuetext', `${where.textContent}, ${read.textContent}`);
  drawApart(place);
}

// Pictures of seeds, for the cards of the ends.
function remember() {
  window.endPictures ??= {};
  marks().filter(([, name]) => name.startsWith('seed ')).forEach(([place, name]) => {
    window.endPictures[name.slice(5)] = cells[0][run.order[place]].canvas.toDataURL();
  });
  document.dispatchEvent(new CustomEvent('filmed'));
}

// A bar stands at the frame that it ends at; that of a closed film's first frame at the end.
function drawApart(at) {
  const apart = run.apart ?? [], count = run.order.length + (run.closed ? 1 : 0), names = marks().map(([place, name]) => [place + 1, name]);
  if (run.closed && names.length) names.push([count, names[0][1]]);
  const series = apart.map((values, i) => ({name: run.strips[i].label, colour: run.strips[i].colour, points: values.map((value, k) => [k + 2, value])}));
  const width = Math.round(plot.getBoundingClientRect().width);   // in the pixels of the screen
  if (width) plot.setAttribute('viewBox', `0 0 ${width} 176`);
  drawLines(plot, {series, bars: true, floor: 0, now: at || !run.closed ? at + 1 : count, range: [0.5, count + 0.5], names: names.length ? names : null});
  const of = values => (values.reduce((sum, value) => sum + value, 0) / values.length).toFixed(1);
  mean.textContent = apart.length ? `RMSE of 255, mean ${apart.map(of).join(' | ')}` : '';
}

const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

async function take(value) {
  if (!value || !value.run) return;
  const isNew = !run || run.run !== value.run;
  if (isNew) { run = {...value, sources: value.mix}; build(); }
  const mine = run;
  Object.assign(mine, {marks: value.marks ?? mine.marks, apart: value.apart ?? mine.apart});
  if (value.sources && !mine.drawn) {
    mine.drawn = true;
    const images = await Promise.all(value.sources.map(load));
    if (run === mine) drawSources(images);
  }
  await Promise.all(value.updates.map(async ({strip, k, steps, picture}) => {
    const image = await load(picture);
    if (run !== mine || (sprites[strip] && k < sprites[strip].k)) return;
    sprites[strip] = {k, image};
    cells[strip].forEach(({canvas, note}, frame) => {
      copy(canvas, image, frame);
      note.textContent = k + 1 < steps && !frame ? `step ${k + 1} of ${steps}` : '';
    });
  }));
  if (run !== mine) return;
  show(+scrub.value);
  if (isNew && value.playing) toggle();
  if (!value.complete) return;
  (value.notes || []).forEach((notes, strip) => notes.forEach((text, frame) => { cells[strip][frame].note.textContent = text; }));
  hint.textContent = value.hint || '';
  remember();
  table.setAttribute('aria-busy', 'false');
  table.dataset.drawn = run.run;
}

// ---- controls --------------------------------------------------------------------------------------------------------

function pause() { clearTimeout(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }

function advance() {
  timer = setTimeout(advance, Math.max(calm.matches ? 500 : 20, 120 / +speed.value));
  if (!scrub.offsetParent) return;   // another tab is open
  const last = +scrub.max, at = +scrub.value;
  if (run.closed) return show(at < last ? at + 1 : 0);
  if (at >= last) forward = false;
  if (at <= 0) forward = true;
  show(at + (forward ? 1 : -1));
}

function toggle() {
  if (timer) return pause();
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  timer = setTimeout(advance, 120);
}

const step = by => { pause(); show((+scrub.value + by + run.order.length) % run.order.length); };
const keys = {ArrowLeft: () => step(-1), ArrowRight: () => step(1), Home: () => { pause(); show(0); }, End: () => { pause(); show(+scrub.max); }, ' ': toggle};
scrub.addEventListener('input', () => { pause(); show(+scrub.value); });
play.addEventListener('click', toggle);
$('.back').addEventListener('click', keys.ArrowLeft);
$('.forth').addEventListener('click', keys.ArrowRight);
root.addEventListener('keydown', event => {
  const {key, target} = event;
  if (!keys[key] || !run || event.ctrlKey || event.metaKey || event.altKey || target.matches('select') || (key === ' ' && target.matches('button'))) return;
  event.preventDefault();
  keys[key]();
  if (target.matches('td button')) body.querySelector('button[aria-pressed="true"]')?.focus();
});

watch('value', () => { window.filled('interpolate'); take(props.value); });
take(props.value);
