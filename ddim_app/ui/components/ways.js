// Every way up, one row each. A press on one takes it. Rows that are not known yet are asked for once the round trip above is drawn.
const [title, fill, table] = ['h2', '.fill', '.table'].map(selector => element.querySelector(selector));
const LOW = -8, HIGH = 3, placeOf = value => 100 * Math.min(1, Math.max(0.004, (Math.log10(Math.max(value, 1e-12)) - LOW) / (HIGH - LOW)));
let shown = null, wanted = null;

const make = (name, className, parent, words) => {
  const node = document.createElement(name);
  node.className = className;
  // x_T as it is written: with its index below.
  if (words !== undefined) words.split('x_T').forEach((part, i) => {
    if (i) node.append('x', Object.assign(document.createElement('sub'), {textContent: 'T'}));
    node.append(part);
  });
  parent.append(node);
  return node;
};

function head() {
  const line = make('div', 'head', table);
  line.setAttribute('role', 'row');
  ['Way', 'What is kept', 'Evaluations', '', 'RMSE of 255, 8 bits'].forEach((words, i) => {
    const cell = make('span', ['', 'kept', 'cost', 'scale', ''][i], line, words);
    cell.setAttribute('role', words ? 'columnheader' : 'cell');
    if (i === 3) [[1e-6, '10⁻⁶'], [1e-4, '10⁻⁴'], [0.01, '0.01'], [1, '1'], [100, '100']].forEach(([value, text]) => {
      make('span', '', cell, text).style.left = `${placeOf(value)}%`;
    });
  });
}

function row(about, own) {
  const line = make('div', 'row', table), known = about.rmse !== undefined;
  line.setAttribute('role', 'row');
  line.classList.toggle('own', about.method === own);
  line.classList.toggle('equal', Boolean(about.equal));
  const cells = ['', 'kept', 'cost', 'bar', 'number'].map(name => { const cell = make('span', name, line); cell.setAttribute('role', 'cell'); return cell; });
  const button = make('button', 'name', cells[0], about.name);
  button.type = 'button';
  button.dataset.method = about.method;
  if (about.method === own) button.setAttribute('aria-current', 'true');
  button.addEventListener('click', () => trigger('select', {act: 'method', value: about.method}));
  make('span', '', cells[1], about.kept);
  cells[2].textContent = about.evaluations ?? '…';
  if (known) make('i', '', cells[3]).style.width = `${placeOf(about.rmse)}%`;
  cells[4].textContent = !known ? '…' : about.equal ? 'no pixel differs' : about.shown.toFixed(1);
  if (known) line.title = `standard deviation of the latent ${about.std}`;
}

function show() {
  const value = props.value;
  if (!value?.rows || (wanted !== null && value.key !== wanted)) return;
  const focused = table.contains(element.getRootNode().activeElement) && element.getRootNode().activeElement.dataset.method;
  if (wanted !== null) window.filled('ways');
  shown = value;
  title.textContent = `Every way up, at ${value.steps} ${value.steps === 1 ? 'step' : 'steps'}`;
  table.style.setProperty('--half', `${placeOf(0.5)}%`);
  table.replaceChildren();
  head();
  value.rows.forEach(about => row(about, value.own));
  if (focused) table.querySelector(`[data-method="${focused}"]`)?.focus();
  const left = value.rows.filter(about => about.rmse === undefined).length;
  table.dataset.left = left;
  fill.hidden = !value.costly || !left;
  fill.textContent = `Fill, about ${Math.ceil(value.costly ?? 0)} s`;
  const told = value.rows.find(about => about.advice)?.advice;
  if (told) document.dispatchEvent(new CustomEvent('advice', {detail: {key: value.key, ...told}}));
}

fill.addEventListener('click', () => { fill.hidden = true; trigger('input', {asked: true}); });
// The round trip above is drawn, or a new one has begun.
document.addEventListener('inverted', ({detail: {key}}) => {
  if (key === wanted) return; // the same round trip, drawn once more
  wanted = key;
  if (key) trigger('input', {asked: false});
});
watch('value', show);
show();
