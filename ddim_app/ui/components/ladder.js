// The same picture at more steps: rows are samplers, columns are steps. A press on a column takes its steps.
const $ = selector => element.querySelector(selector);
const [root, about, fill, grid, plot, all] = ['.ladder', '.about', '.fill', '.grid', '.plot', '.all'].map($);
let shown = null, cells = [], here = null, serial = 0, steps = null, asked = '', offered = '', picture = 0;

// ---- the grid ------------------------------------------------------------------------------------------------------

function build(value) {
  grid.replaceChildren();
  grid.style.setProperty('--columns', value.columns.length);
  const top = make('div', 'row', grid);
  top.setAttribute('role', 'row');
  make('span', '', top).setAttribute('role', 'gridcell');
  value.columns.forEach((count, i) => {
    const holder = make('div', '', top), head = make('button', 'top', holder);
    holder.setAttribute('role', 'columnheader');
    head.type = 'button';
    head.tabIndex = -1;
    make('b', '', head, count);
    if (!i) head.append(' steps');
    head.addEventListener('click', () => take(count));
  });
  cells = value.rows.map((row, arm) => {
    const line = make('div', 'row', grid);
    line.setAttribute('role', 'row');
    const name = make('span', 'name', line, row.name);
    name.dataset.arm = arm;
    name.setAttribute('role', 'rowheader');
    return value.columns.map((count, i) => {
      const holder = make('div', '', line), cell = make('button', 'cell', holder), image = make('img', '', cell), note = make('span', 'quiet', cell, '…');
      holder.setAttribute('role', 'gridcell');
      cell.type = 'button';
      cell.dataset.arm = arm;
      cell.tabIndex = arm || i ? -1 : 0;
      image.addEventListener('load', () => image.classList.toggle('smooth', image.naturalWidth > 48 && image.clientWidth % image.naturalWidth > 0));
      cell.addEventListener('click', () => take(count));
      cell.addEventListener('keydown', event => walk(event, arm, i));
      return {cell, image, note};
    });
  });
  here = make('div', 'here', grid);
  here.hidden = true;
}

function walk(event, arm, column) {
  const by = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const next = by && cells[arm + by[0]]?.[column + by[1]];
  if (!next) return;
  event.preventDefault();
  event.stopPropagation();
  cells.flat().forEach(({cell}) => { cell.tabIndex = -1; });
  next.cell.tabIndex = 0;
  next.cell.focus();
}

function mark() {
  const column = shown ? shown.columns.indexOf(steps) : -1;
  here.hidden = column < 0;
  const isNow = (node, i) => node.classList.toggle('now', i === column);
  grid.querySelectorAll('.top').forEach(isNow);
  cells.forEach(row => row.forEach(({cell}, i) => isNow(cell, i)));
  if (here.hidden) return;
  const head = grid.querySelectorAll('.top')[column], last = cells[cells.length - 1][column].cell;
  Object.assign(here.style, {left: `${head.offsetLeft - 5}px`, width: `${head.offsetWidth + 10}px`, top: `${head.offsetTop - 2}px`, height: `${last.offsetTop + last.offsetHeight - head.offsetTop + 4}px`});
}

// ---- what is said --------------------------------------------------------------------------------------------------

function show(value) {
  if (!value?.rows || (value.serial && value.serial < serial)) return;
  const like = shown && shown.columns.join() === value.columns.join() && shown.rows.length === value.rows.length;
  shown = value;
  if (!like) build(value);
  about.textContent = `Seed ${value.seed}. `;
  make('span', 'wide', about, `Under each: how far it is from its own row at ${value.reference} steps (RMSE of 255). Press a column to take its steps.`);
  make('span', 'small', about, `RMSE of 255 to its own row at ${value.reference} steps.`);
  about.append(value.rows.filter(row => row.limit).map(row => ` ${row.label} solves the flow of ${row.limit}: it is measured to that one's.`).join(''));
  all.textContent = value.stored ? `With all ${value.reference} steps DDPM is at least as good.` : 'With all its steps DDPM is at least as good.';
  value.rows.forEach((row, arm) => {
    const name = grid.querySelectorAll('.name')[arm];
    name.textContent = row.name;
    if (typeof row.within === 'number') make('small', 'small', name, ` within 5 of 255 from ${value.columns[row.within]} steps`);
    row.cells.forEach(({picture: source, rmse}, i) => {
      const {cell, image, note} = cells[arm][i], count = value.columns[i], isReference = count === value.reference && !row.limit;
      if (source && image.src !== source) image.src = source;
      cell.classList.toggle('stale', !source && Boolean(image.src));
      const words = isReference && source ? 'reference' : rmse === undefined ? '…' : rmse.toFixed(1);
      note.textContent = words;
      note.classList.toggle('quiet', isReference || rmse === undefined);
      note.classList.toggle('within', typeof row.within === 'number' && i >= row.within);
      if (row.within === i && !isReference) { note.append(' '); make('u', '', note, 'within 5'); }
      image.alt = `${row.label}, ${count} steps, seed ${value.seed}`;
      cell.setAttribute('aria-label', `${image.alt}${rmse === undefined ? '' : `, ${rmse.toFixed(1)} of 255 from ${row.limit ? `${row.limit} with` : 'its own'} ${value.reference} steps`}`);
    });
  });
  fill.hidden = true;
  referLive();
  if (value.costly !== undefined) offer(value.costly ? `Fill, about ${Math.ceil(value.costly)} s` : 'Fill');
  chart();
  mark();
}

function chart() {
  const {columns, rows} = shown, series = rows.map((row, arm) => ({name: row.name, colour: arm, points: row.cells.map(({rmse}, i) => [columns[i], rmse])}));
  drawLines(plot, {title: 'RMSE of 255, by steps', series, log: true, ticks: columns, floor: 0, limit: {at: 5, words: 'within 5'}, now: steps, named: true});
}

// ---- stored pictures -----------------------------------------------------------------------------------------------

const sets = {};   // by their models' names: what is in them, and the image of its sheet once it is there
const bundled = props.stored.model;

// Without its sheet every picture is asked for.
async function takeSet(stored) {
  const {model} = stored, image = new Image();
  if (sets[model]?.sheet !== stored.sheet) sets[model] = {...stored};
  image.src = `${window.gradio_config?.root ?? ''}/stored/${stored.sheet}`;
  await image.decode().then(() => { sets[model].image = image; }, () => { delete sets[model]; });
  if (told?.[0].model === model) window.laddered(...told);
}

// The set of these settings, which is of fp32, its rows for DDIM and DDPM, and the column of their pictures; null where the rows
// are not stored.
function placesOf(settings, begin) {
  const set = sets[settings.model], free = ['model', 'steps', 'eta', 'variance', 'pictures', settings.precision === 'fp32' ? 'precision' : ''];
  if (!set || settings.seed !== set.seed || picture >= set.shape[2]) return null;
  const plain = {...begin, clip: set.clip};
  if (!Object.keys(plain).every(name => free.includes(name) || JSON.stringify(settings[name]) === JSON.stringify(plain[name]))) return null;
  const arms = [set.arms.indexOf(String(settings.eta)), set.arms.indexOf({small: '1', large: 'sigma-hat'}[settings.variance])];
  return Math.min(...arms) < 0 ? null : {set, arms, column: set.columns.indexOf(settings.steps), fits: settings.pictures <= set.shape[2]};
}

function cut({shape: [, , pictures, height, width], image}, arm, column, from, count) {
  const canvas = document.createElement('canvas');
  canvas.width = width * count;
  canvas.height = height;
  const context = canvas.getContext('2d');
  for (let i = 0; i < count; i++) context.drawImage(image, column * width, (arm * pictures + from + i) * height, width, height, i * width, 0, width, height);
  return canvas;
}

const nameOf = (row, settings) => row ? (settings.variance === 'large' ? 'DDPM σ̂' : 'DDPM') : 'DDIM';
const labelOf = (settings, row) => row ? (settings.variance === 'large' ? 'DDPM(σ̂)' : 'DDPM') : `DDIM(η = ${settings.eta})`;

function ladderOf(settings, {set, arms}) {
  const columns = [3, 5, 10, 20, 50, 100].filter(count => set.columns.includes(count));
  const rows = arms.map((arm, row) => {
    const cells = columns.map(count => {
      const column = set.columns.indexOf(count);
      return {picture: cut(set, arm, column, picture, 1).toDataURL(), rmse: set.rmse[arm][column][picture]};
    });
    const first = set.settled[arm][picture], within = columns.findIndex(count => first !== null && set.columns.indexOf(count) >= first);
    return {name: row || !settings.eta ? nameOf(row, settings) : `η ${settings.eta}`, label: labelOf(settings, row), cells, within: within < 0 ? null : within};
  });
  return {seed: set.seed + picture, columns, rows, reference: set.columns[set.columns.length - 1], stored: true, complete: true};
}

function showArms(settings, {set, arms: rows, column}) {
  const {pictures} = settings, [, , , height, width] = set.shape;
  const arms = rows.map((_, row) => {
    const words = [...(row || !settings.eta ? [] : [`η ${settings.eta}`]), `${settings.steps} ${settings.steps === 1 ? 'step' : 'steps'}`];
    return {label: labelOf(settings, row), name: nameOf(row, settings), steps: settings.steps, note: words.join(', ')};
  });
  const seeds = Array.from({length: pictures}, (_, i) => set.seed + i);
  window.showStrips({key: JSON.stringify(settings), height, width, seeds, arms}, rows.map(arm => cut(set, arm, column, 0, pictures)));
}

const refer = (strips, count) => document.dispatchEvent(new CustomEvent('references', {detail: {strips, steps: count}}));
// What the server has sent with the ladder that is shown: of other steps it is the same.
async function referLive() {
  const value = shown;
  const strips = await Promise.all((value.references ?? []).map(async source => { const image = new Image(); image.src = source; await image.decode(); return image; }));
  if (strips.length && value === shown) refer(strips, value.reference);
}
const referStored = ({set, arms, fits}, pictures) => {
  const last = set.columns.length - 1;
  if (fits) refer(arms.map(arm => cut(set, arm, last, 0, pictures)), set.columns[last]);
};

let begun = null, told = null;
let referred = 0;   // how many pictures the live ladder's references are of
// Shows what is stored of these settings, and says whether there is something.
window.showStored = (settings, from = begun) => {
  const found = from && placesOf(settings, from);
  if (!found?.set.image || !found.fits || found.column < 0) return false;
  begun = from;
  steps = settings.steps;
  asked = keyOf(settings);
  root.classList.remove('stale');
  serial++;   // what still comes is of the settings before
  showArms(settings, found);
  show(ladderOf(settings, found));
  referStored(found, settings.pictures);
  return true;
};

// ---- settings ------------------------------------------------------------------------------------------------------

const take = count => document.dispatchEvent(new CustomEvent('take', {detail: {steps: count}}));
const keyOf = settings => JSON.stringify({...settings, steps: null, pictures: null, picture});

function offer(words) { fill.textContent = words; fill.hidden = false; }

function ask(key, more) {
  asked = key;
  referred = told?.[0].pictures;
  root.classList.remove('stale');
  offered = '';
  fill.hidden = true;
  cells.flat().forEach(({cell, note}) => { cell.classList.add('stale'); note.textContent = '…'; note.classList.add('quiet'); });
  trigger('input', {serial: ++serial, picture, ...more});
}

// The arms above are drawn with these settings: the ladder follows, unless it has them, their steps and number of pictures aside.
window.laddered = (settings, begin, live) => {
  const found = placesOf(settings, begin), isBundled = settings.model === bundled, key = keyOf(settings);
  if (!found && !isBundled && document.querySelector('#stage .arms').dataset.drawn === 'stored') return;  // the page has only been opened, with the bundled model's pictures
  const isReferred = settings.pictures === referred && (shown.references || !shown.complete || settings.steps === steps);
  told = [settings, begin, live];
  begun = begin;
  steps = settings.steps;
  if (isBundled) asked ||= keyOf(begin);
  if (found) {
    asked = key;
    root.classList.remove('stale');
    serial++;
    if (!found.set.image) return chart(), mark();
    show(ladderOf(settings, found));
    referStored(found, settings.pictures);
  } else if (key === asked && (isReferred || !live)) { chart(); mark(); referLive(); }
  else if (live) ask(key, {});
  else { root.classList.add('stale'); offered = key; offer('Fill'); mark(); }
};
// The settings of now: of another model, seed or η than the ladder's it is dimmed, until it has followed.
window.ladderNow = (settings, begin) => root.classList.toggle('stale', keyOf(settings) !== (asked || keyOf(begin)));
// A press on one of the big pictures makes the ladder its own.
document.addEventListener('picture', ({detail}) => {
  const found = told && placesOf(...told);
  if (detail === picture || !told || (found && !found.set.image)) return;
  picture = detail;
  window.laddered(...told);
});
fill.addEventListener('click', () => ask(offered || asked, {asked: true}));
new ResizeObserver(mark).observe(grid);
watch('value', () => show(props.value));
window.storedReady = takeSet(props.stored);
// The server has that of the model that was chosen.
watch('stored', async () => {
  const {model} = props.stored;
  await takeSet(props.stored);
  document.dispatchEvent(new CustomEvent('set', {detail: model}));
});
steps = props.value.current ?? null;
show(props.value);
// What is to be saved of it, as the button says that was pressed last.
let form = '';
window.ladderShown = () => ({form, seed: shown.seed, picture, stale: root.classList.contains('stale')});
element.querySelectorAll('.files button').forEach(button => button.addEventListener('click', () => { ({form} = button.dataset); trigger('select', {}); }));
// A live ladder is there again after a reload; a stored one anyway.
window.keepers.ladder = () => shown && !shown.stored && shown.complete ? {value: {...shown, references: null, serial: 0}, asked, steps, picture, referred} : null;
if (window.kept('ladder')) {
  const {value, ...about} = window.kept('ladder');
  ({asked, steps, picture, referred} = about);
  show(value);
}
