// Draws the strip of past runs and the comparison of two. Values come as JSON; texts are set with textContent, never as markup.
const [strip, versus, hint] = ['.strip', '.versus', '.hint'].map(selector => element.querySelector(selector));

const make = (name, className, parent, words = '') => {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.textContent = words;
  parent.append(node);
  return node;
};

// Only pictures that this app made itself, as data; whatever else a value says is not fetched.
function picture(source, words, parent) {
  const image = make('img', '', parent);
  if (/^data:image\/png;base64,[A-Za-z0-9+/=]*$/.test(source)) image.src = source;
  image.alt = words;
}

function tool(words, act, run, parent, label) {
  const button = make('button', act === 'restore' ? 'picture' : '', parent, words);
  button.type = 'button';
  button.setAttribute('aria-label', `${label}: ${run.line}`);
  button.addEventListener('click', () => trigger('select', {index: {number: run.number, act}}));
  return button;
}

function entry(run, value) {
  const item = make('li', '', strip);
  item.dataset.number = run.number;
  const restore = tool('', 'restore', run, item, 'Restore the settings of');
  restore.title = 'Restore these settings';
  picture(run.picture, '', restore);
  const tools = make('div', 'tools', item);
  for (const name of ['a', 'b']) {
    const on = value[name] === run.number;
    tool(name.toUpperCase(), name, run, tools, `Set as ${name.toUpperCase()}`).setAttribute('aria-pressed', String(on));
    if (on) item.classList.add('chosen');
  }
  make('p', 'line', item, run.line);
  if (run.note) make('p', 'note', item, run.note);
}

const decibels = value => value === null ? 'equal' : `${value.toFixed(1)} dB`;

function compare(found) {
  if (found.note) make('p', 'hint', versus, found.note);
  for (const row of found.rows) {
    const place = make('div', 'row', versus);
    const parts = [[`A: ${row.a.label}`, row.a.picture], [`B: ${row.b.label}`, row.b.picture],
      [`Difference: ${decibels(row.psnr)}, SSIM ${row.ssim.toFixed(3)}`, row.difference]];
    for (const [words, source] of parts) {
      const figure = make('figure', '', place);
      make('figcaption', '', figure, words);
      picture(source, words, figure);
    }
  }
}

function show() {
  const value = props.value;
  if (!value || !Array.isArray(value.runs)) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  strip.replaceChildren();
  versus.replaceChildren();
  value.runs.forEach(run => entry(run, value));
  if (value.versus) compare(value.versus);
  hint.textContent = value.runs.length === 0 ? 'Your last runs are kept here while the page is open.'
    : value.versus ? '' : 'A picture brings its settings back; A and B lay two runs side by side.';
  if (focused) [...element.querySelectorAll('button')].find(button => button.getAttribute('aria-label') === focused)?.focus();
  strip.dataset.drawn = String(value.runs.length ? value.runs[0].number : -1);
}

watch('value', show);
show();
