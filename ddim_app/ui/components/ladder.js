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

const {stored} = props, PICTURES = stored ? stored.shape[2] : 0;
let sheet = null;
if (stored) {
  const image = new Image();
  image.src = `${window.gradio_config?.root ?? ''}/stored/${stored.sheet}`;
  // Without it every picture is asked for.
  window.storedReady = image.decode().then(() => { sheet = image; if (told) window.laddered(...told); }, () => {});
}

// (arm, column) of stored rows for DDIM and DDPM with these settings; null where something is not stored.
function placesOf(settings, begin) {
  if (!Object.keys(begin).every(name => ['steps', 'eta', 'variance', 'pictures'].includes(name) || JSON.stringify(settings[name]) === JSON.stringify(begin[name]))) return null;
  const arms = [stored.arms.indexOf(String(settings.eta)), stored.arms.indexOf({small: '1', large: 'sigma-hat'}[settings.variance])];
  const column = stored.columns.indexOf(settings.steps);
  return settings.model === stored.model && settings.seed === stored.seed && settings.pictures <= PICTURES && Math.min(column, ...arms) >= 0 ? {arms, column} : null;
}

function cut(arm, column, from, count) {
  const [, , , height, width] = stored.shape, canvas = document.createElement('canvas');
  canvas.width = width * count;
  canvas.height = height;
  const context = canvas.getContext('2d');
  for (let i = 0; i < count; i++) context.drawImage(sheet, column * width, (arm * PICTURES + from + i) * height, width, height, i * width, 0, width, height);
  return canvas;
}

const nameOf = (row, settings) => row ? (settings.variance === 'large' ? 'DDPM σ̂' : 'DDPM') : 'DDIM';
const labelOf = (settings, row) => row ? (settings.variance === 'large' ? 'DDPM(σ̂)' : 'DDPM') : `DDIM(η = ${settings.eta})`;

function ladderOf(settings, {arms}) {
  const columns = props.value.stored ? props.value.columns : [3, 5, 10, 20, 50, 100].filter(count => stored.columns.includes(count));
  const rows = arms.map((arm, row) => {
    const cells = columns.map(count => {
      const column = stored.columns.indexOf(count);
      return {picture: cut(arm, column, picture, 1).toDataURL(), rmse: stored.rmse[arm][column][picture]};
    });
    const first = stored.settled[arm][picture], within = columns.findIndex(count => first !== null && stored.columns.indexOf(count) >= first);
    return {name: row || !settings.eta ? nameOf(row, settings) : `η ${settings.eta}`, label: labelOf(settings, row), cells, within: within < 0 ? null : within};
  });
  return {seed: stored.seed + picture, columns, rows, reference: stored.columns[stored.columns.length - 1], stored: true, complete: true};
}

function showArms(settings, found) {
  const {pictures} = settings, [, , , height, width] = stored.shape;
  const arms = found.arms.map((_, row) => {
    const words = [...(row || !settings.eta ? [] : [`η ${settings.eta}`]), `${settings.steps} ${settings.steps === 1 ? 'step' : 'steps'}`];
    return {label: labelOf(settings, row), name: nameOf(row, settings), steps: settings.steps, note: words.join(', ')};
  });
  const seeds = Array.from({length: pictures}, (_, i) => stored.seed + i);
  window.showStrips({key: JSON.stringify(settings), height, width, seeds, arms}, found.arms.map(arm => cut(arm, found.column, 0, pictures)));
}

const refer = (strips, count) => document.dispatchEvent(new CustomEvent('references', {detail: {strips, steps: count}}));
// What the server has sent with the ladder that is shown: of other steps it is the same.
async function referLive() {
  const value = shown;
  const strips = await Promise.all((value.references ?? []).map(async source => { const image = new Image(); image.src = source; await image.decode(); return image; }));
  if (strips.length && value === shown) refer(strips, value.reference);
}
const referStored = ({arms}, pictures) => {
  const last = stored.columns.length - 1;
  if (sheet) refer(arms.map(arm => cut(arm, last, 0, pictures)), stored.columns[last]);
};

let begun = null, told = null;
let referred = 0;   // how many pictures the live ladder's references are of
// Shows what is stored of these settings, and says whether there is something.
window.showStored = (settings, from = begun) => {
  const found = from && sheet && placesOf(settings, from);
  if (!found) return false;
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
  const isBundled = settings.model === stored.model;
  if (!isBundled && document.querySelector('#stage .arms').dataset.drawn === 'stored') return;  // the page has only been opened, with the bundled model's pictures
  const isReferred = settings.pictures === referred && (shown.references || !shown.complete || settings.steps === steps);
  told = [settings, begin, live];
  begun = begin;
  steps = settings.steps;
  if (isBundled) asked ||= keyOf(begin);
  const found = placesOf(settings, begin), key = keyOf(settings);
  if (found || (isBundled && key === keyOf(begin) && settings.seed === stored.seed)) {
    asked = key;
    root.classList.remove('stale');
    serial++;
    show(found && sheet ? ladderOf(settings, found) : {...(props.value.stored ? props.value : shown)});
    if (found) referStored(found, settings.pictures);
  } else if (key === asked && (isReferred || !live)) { chart(); mark(); referLive(); }
  else if (live) ask(key, {});
  else { root.classList.add('stale'); offered = key; offer('Fill'); mark(); }
};
// The settings of now: of another model, seed or η than the ladder's it is dimmed, until it has followed.
window.ladderNow = (settings, begin) => root.classList.toggle('stale', keyOf(settings) !== (asked || keyOf(begin)));
// A press on one of the big pictures makes the ladder its own.
document.addEventListener('picture', ({detail}) => {
  if (detail === picture || !told || (placesOf(...told) && !sheet)) return;
  picture = detail;
  window.laddered(...told);
});
fill.addEventListener('click', () => ask(offered || asked, {asked: true}));
new ResizeObserver(mark).observe(grid);
watch('value', () => show(props.value));
steps = props.value.current ?? null;
show(props.value);
// A live ladder is there again after a reload; a stored one anyway.
window.keepers.ladder = () => shown && !shown.stored && shown.complete ? {value: {...shown, references: null, serial: 0}, asked, steps, picture, referred} : null;
if (window.kept('ladder')) {
  const {value, ...about} = window.kept('ladder');
  ({asked, steps, picture, referred} = about);
  show(value);
}
