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
  run.columns.forEach(text => { make('th', top, text).scope = 'col'; });
  run.rows.forEach((text, row) => {
    const line = make('tr', body);
    make('th', line, text).scope = 'row';
    run.columns.forEach((title, column) => {
      const button = make('button', make('td', line)), canvas = make('canvas', button), note = make('small', button);
      const index = row * run.columns.length + column;
      button.type = 'button';
      button.setAttribute('aria-pressed', 'false');
      button.setAttribute('aria-label', `${text}, ${title}`);
      canvas.width = run.width; canvas.height = run.height;
      button.addEventListener('click', () => {
        cells.forEach((cell, i) => cell.button.setAttribute('aria-pressed', String(i === index)));
        trigger('select', {index});
      });
      cells.push({button, canvas, note, step: -1});
    });
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
