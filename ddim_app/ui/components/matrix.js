// Fills a table of pictures as its cells arrive, with a chart of their distances. Texts are set with textContent, never as markup.
const $ = selector => element.querySelector(selector);
const [root, table, head, body, hint, title, far, open, plot, legend] = ['.matrix', 'table', 'thead', 'tbody', '.hint', '.title', '.far', '.open', '.plot', '.legend'].map($);
let run = null, cells = [], chosen = null;

// ---- the table -----------------------------------------------------------------------------------------------------

function headed(node, {title, note, colour}) {
  node.style.setProperty('--own', colourOf(colour));
  make('b', '', node, title);
  if (note) make('small', '', node, note);
}
const wordsOf = ({title, note}) => [title, note].filter(Boolean).join(', ');
const SPREAD = {title: 'spread', note: '', colour: 2};

function build() {
  head.replaceChildren(); body.replaceChildren(); cells = [];
  const top = make('tr', '', head);
  make('td', '', top);
  const {rows, columns, spread} = run, count = rows.length * columns.length;
  const titles = spread === 'columns' ? [...columns, SPREAD] : columns;
  titles.forEach(each => { const cell = make('th', '', top); cell.scope = 'col'; headed(cell, each); });
  (spread === 'rows' ? [...rows, SPREAD] : rows).forEach((text, row) => {
    const line = make('tr', '', body), name = make('th', '', line);
    name.scope = 'row';
    headed(name, text);
    titles.forEach((each, column) => {
      const map = row === rows.length ? column : column === columns.length ? row : null;
      if (map === null) cell(make('td', '', line), row * columns.length + column, row, column);
      else place(make('figure', '', make('td', '', line)), count + map);
    });
  });
  choose(null);
}

// A canvas with a note under it; the maps of the spread stand behind the last cell.
function place(parent, index) {
  const canvas = make('canvas', '', parent), note = make('span', '', parent);
  canvas.width = run.width; canvas.height = run.height;
  cells[index] = {canvas, note, step: -1};
  return cells[index];
}

function cell(parent, index, row, column) {
  const button = make('button', 'cell', parent), {rows, columns} = run;
  place(button, index).button = button;
  button.type = 'button';
  button.tabIndex = index ? -1 : 0;
  button.style.setProperty('--own', colourOf(rows[row].colour));
  button.setAttribute('aria-label', `${wordsOf(rows[row])}, ${wordsOf(columns[column])}`);
  button.addEventListener('click', () => choose(index));
  button.addEventListener('keydown', event => walk(event, row, column));
}

function walk(event, row, column) {
  const [down, right] = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key] ?? [0, 0];
  const {rows, columns} = run, [y, x] = [row + down, column + right];
  if (!(down || right) || y < 0 || x < 0 || y >= rows.length || x >= columns.length) return;
  event.preventDefault();
  event.stopPropagation();
  cells.forEach(each => { if (each.button) each.button.tabIndex = -1; });
  const next = cells[y * columns.length + x].button;
  next.tabIndex = 0;
  next.focus();
}

// ---- the panel -----------------------------------------------------------------------------------------------------

function choose(index) {
  chosen = index;
  cells.forEach((each, i) => each.button?.setAttribute('aria-pressed', String(i === index)));
  open.disabled = index === null;
  if (index === null) { title.textContent = ''; far.textContent = 'Press a cell to look closer.'; return; }
  const {columns, rows} = run, {value} = cells[index];
  title.textContent = `${rows[Math.floor(index / columns.length)].title}, ${columns[index % columns.length].title}`;
  far.replaceChildren();
  if (value?.reference) far.textContent = `the reference of its ${run.along === 'rows' ? 'column' : 'row'}`;
  else if (value?.rmse !== undefined) { make('b', '', far, value.rmse.toFixed(1)); far.append(` of 255 from its own ${value.own} steps`); }
}

open.addEventListener('click', () => {
  window.cell = chosen;
  trigger('select', {});
  window.openTab('compare');
});

function chart() {
  const {rows, columns, along, marks, unit} = run, lines = along === 'rows' ? columns : rows, count = columns.length;
  const at = (line, mark) => cells[along === 'rows' ? mark * count + line : line * count + mark]?.value?.rmse;
  const series = along ? lines.map(({title, colour, dashed}, line) => ({name: title, colour, dashed, points: marks.map((mark, i) => [mark, at(line, i)])})) : [];
  const isKnown = series.some(({points}) => points.filter(([, y]) => y !== undefined).length > 1);
  plot.toggleAttribute('hidden', !isKnown);
  legend.replaceChildren();
  if (!isKnown) return;
  drawLines(plot, {title: `RMSE of 255, by ${unit}`, series, log: true, ticks: marks, floor: 0, limit: {at: 5, words: 'within 5'}});
  series.forEach(({name, colour, dashed}) => {
    const item = make('li', '', legend), mark = make('i', dashed ? 'dashed' : '', item);
    mark.style.setProperty('--own', colourOf(colour));
    item.append(name);
  });
}

// ---- taking values -------------------------------------------------------------------------------------------------

const headsOf = value => JSON.stringify([value.rows, value.columns, value.spread, value.width, value.height]);

// A run that fills the same places leaves the pictures before, dimmed, until there are new ones.
function begin(value) {
  const same = run && headsOf(run) === headsOf(value);
  run = value;
  if (!same) build();
  cells.forEach(each => { each.step = -1; each.value = null; each.canvas.parentNode.classList.toggle('stale', each.drawn === true); each.note.textContent = '…'; each.note.className = 'quiet'; });
  table.setAttribute('aria-busy', 'true');
  hint.textContent = '';
  root.classList.toggle('shrunk', run.width > 128);
  choose(chosen);
  chart();
}

async function take(value) {
  if (!value || !value.run) return;
  if (!run || run.run !== value.run) begin(value);
  const mine = run;
  await Promise.all(value.cells.map(async each => {
    const {index, k, steps, picture, note, rmse, reference, within} = each, cell = cells[index], image = new Image();
    image.src = picture;
    await image.decode();
    if (run !== mine || k < cell.step) return;
    cell.step = k;
    cell.drawn = true;
    if (k + 1 === steps) cell.value = each;
    const context = cell.canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, run.width, run.height);
    cell.canvas.parentNode.classList.remove('stale');
    cell.note.textContent = note ?? (reference ? 'reference' : rmse !== undefined ? rmse.toFixed(1) : k + 1 < steps ? `step ${k + 1} of ${steps}` : '');
    cell.note.className = rmse === undefined || reference ? 'quiet' : '';
    if (within) { cell.note.append(' '); make('u', '', cell.note, 'within 5'); }
  }));
  if (run !== mine) return;
  if (chosen !== null) choose(chosen);
  if (!value.complete) return;
  chart();
  table.setAttribute('aria-busy', 'false');
  table.dataset.drawn = run.run;
  hint.textContent = value.hint;
}

watch('value', () => { window.filled('matrix'); take(props.value); });
take(props.value);
