// Draws the strip of past runs and the comparison of two. Values come as JSON; texts are set with textContent, never as markup.
const [root, strip, versus, pair] = ['.history', '.strip', '.versus', '.pair'].map(selector => element.querySelector(selector));

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
  button.addEventListener('click', () => {
    window.pastRun = {number: run.number, act, recipe: run.old ? run.recipe : null};
    trigger('select', {});
  });
  return button;
}

function entry(run, value) {
  const item = make('li', '', strip);
  item.dataset.number = run.number;
  const restore = tool('', 'restore', run, item, 'Restore the settings of');
  restore.title = 'Restore these settings';
  picture(run.picture, '', restore);
  const tools = make('div', 'tools', item);
  for (const name of run.old ? [] : ['a', 'b']) {
    const on = value[name] === run.number;
    tool(name.toUpperCase(), name, run, tools, `Set as ${name.toUpperCase()}`).setAttribute('aria-pressed', String(on));
    if (on) item.classList.add('chosen');
  }
  make('b', '', item, run.tab);
  make('p', 'line', item, run.words).title = run.line;
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

// Runs of before a reload, of which the server knows no more; each has its recipe.
// The first is the one that the page opens with.
const MOST = 12, older = (window.kept('history') ?? [props.first]).map(run => ({...run, old: true, number: null}));
const all = () => [...(props.value?.runs ?? []), ...older].slice(0, MOST);
window.keepers.history = all;
window.keepers.recipe = () => all().find(run => run.tab === 'Compare')?.recipe;   // of the run that is shown there

function show() {
  const value = props.value;
  if (!value || !Array.isArray(value.runs)) return;
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
  strip.replaceChildren();
  versus.replaceChildren();
  all().forEach(run => entry(run, value));
  if (value.versus) compare(value.versus);
  pair.hidden = value.runs.length < 2;
  if (focused) [...element.querySelectorAll('button')].find(button => button.getAttribute('aria-label') === focused)?.focus();
  strip.dataset.drawn = String(value.runs.length ? value.runs[0].number : -1);
}

pair.addEventListener('click', () => {
  const on = root.classList.toggle('pairing');
  pair.setAttribute('aria-pressed', String(on));
});
watch('value', show);
show();
