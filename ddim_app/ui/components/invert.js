// Shows one inversion as it goes. Texts are set with textContent, pictures with drawImage, never as markup.
const root = element.querySelector('.invert'), note = root.querySelector('.note'), verdict = root.querySelector('.verdict');
const tables = root.querySelector('.tables'), between = root.querySelector('.between');
let newest = 0;

const make = (name, parent, text) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};

async function paint(canvas, source) {
  if (!source) { canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height); return; }
  const image = new Image();
  image.src = source;
  await image.decode();
  canvas.width = image.width; canvas.height = image.height;
  canvas.style.aspectRatio = `${image.width} / ${image.height}`;
  canvas.getContext('2d').drawImage(image, 0, 0);
}

function table(parent, about) {
  const node = make('table', parent);
  make('caption', node, about.title);
  const head = make('tr', make('thead', node));
  about.head.forEach(text => { make('th', head, text).scope = 'col'; });
  const body = make('tbody', node);
  about.rows.forEach(row => {
    const line = make('tr', body);
    row.forEach((text, i) => { const cell = make(i ? 'td' : 'th', line, text); if (!i) cell.scope = 'row'; });
  });
}

async function take(value) {
  if (!value || !value.run) return;
  const mine = ++newest;
  root.setAttribute('aria-busy', String(!value.complete));
  if (value.fresh) { tables.replaceChildren(); verdict.textContent = ''; between.hidden = true; }
  await Promise.all(Object.entries(value.pictures || {}).map(([slot, source]) =>
    paint(root.querySelector(`figure[data-slot="${slot}"] canvas`), source)));
  if (mine !== newest) return;
  if (value.note !== undefined) note.textContent = value.note;
  if (value.tables) { tables.replaceChildren(); value.tables.forEach(about => table(tables, about)); }
  if (value.verdict !== undefined) verdict.textContent = value.verdict;
  if (value.between) {
    between.hidden = false;
    between.querySelector('p').textContent = value.between.title;
    const row = between.querySelector('.row');
    row.replaceChildren();
    await Promise.all(value.between.pictures.map(source => {
      const canvas = make('canvas', row);
      canvas.setAttribute('role', 'img');
      canvas.setAttribute('aria-label', value.between.title);
      return paint(canvas, source);
    }));
  }
  if (value.complete) root.dataset.drawn = value.run;
}

watch('value', () => take(props.value));
take(props.value);
