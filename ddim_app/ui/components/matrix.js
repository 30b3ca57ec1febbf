// Fills a table of pictures as its cells arrive. Texts are set with textContent, pictures with drawImage, never as markup.
const [table, head, body, hint] = ['table', 'thead', 'tbody', '.hint'].map(selector => element.querySelector(selector));
let run = null, cells = [];

const make = (name, parent, text) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};

function build() {
  table.setAttribute('aria-busy', 'true');
  head.replaceChildren(); body.replaceChildren(); cells = [];
  const top = make('tr', head);
  make('td', top);
  const {rows, columns, spread} = run, count = rows.length * columns.length;
  const titles = spread === 'columns' ? [...columns, 'spread'] : columns;
  titles.forEach(text => { make('th', top, text).scope = 'col'; });
  (spread === 'rows' ? [...rows, 'spread'] : rows).forEach((text, row) => {
    const line = make('tr', body);
    make('th', line, text).scope = 'row';
    titles.forEach((title, column) => {
      const map = row === rows.length ? column : column === columns.length ? row : null;
      if (map === null) cell(make('td', line), row * columns.length + column, `${text}, ${title}`);
      else place(make('figure', make('td', line)), count + map);
    });
  });
}

// A canvas with a note under it; the maps of the spread stand behind the last cell.
function place(parent, index) {
  const canvas = make('canvas', parent), note = make('small', parent);
  canvas.width = run.width; canvas.height = run.height;
  cells[index] = {canvas, note, step: -1};
  return cells[index];
}

function cell(parent, index, label) {
  const button = make('button', parent);
  place(button, index).button = button;
  button.type = 'button';
  button.setAttribute('aria-pressed', 'false');
  button.setAttribute('aria-label', label);
  button.addEventListener('click', () => {
    cells.forEach((other, i) => other.button?.setAttribute('aria-pressed', String(i === index)));
    trigger('select', {index});
  });
}

async function take(value) {
  if (!value || !value.run) return;
  if (!run || run.run !== value.run) { run = value; build(); }
  const mine = run;
  await Promise.all(value.cells.map(async ({index, k, steps, picture, note}) => {
    const cell = cells[index], image = new Image();
    image.src = picture;
    await image.decode();
    if (run !== mine || k < cell.step) return;
    cell.step = k;
    const context = cell.canvas.getContext('2d');
    context.imageSmoothingEnabled = false;
    context.drawImage(image, 0, 0, run.width, run.height);
    cell.note.textContent = note || (k + 1 < steps ? `step ${k + 1} of ${steps}` : '');
  }));
  if (run !== mine || !value.complete) return;
  table.setAttribute('aria-busy', 'false');
  table.dataset.drawn = run.run;
  if (value.hint) hint.textContent = value.hint;
}

watch('value', () => take(props.value));
take(props.value);
