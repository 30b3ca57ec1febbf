// Strips of frames as they are denoised, in a table and in a player. Texts are set with textContent, pictures with drawImage.
const $ = selector => element.querySelector(selector);
const [player, screens, scrub, read, play, table, head, body, hint] =
  ['.player', '.screens', '.scrub', '.read', '.play', 'table', 'thead', 'tbody', '.hint'].map($);
let run = null;       // what the value says of the run, its pictures aside
let sprites = [];     // of each strip: {k, image} with all its frames side by side
let cells = [];       // cells[strip][frame] = {button, canvas, note}
let figures = [];     // the player's canvas of each strip
let timer = null, forward = true;

const make = (name, parent, text) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
};

function canvasIn(parent) {
  const canvas = make('canvas', parent);
  canvas.width = run.width; canvas.height = run.height;
  canvas.setAttribute('role', 'img');
  return canvas;
}

// ---- building --------------------------------------------------------------------------------------------------------

function build() {
  pause();
  table.setAttribute('aria-busy', 'true');
  [head, body, screens].forEach(part => part.replaceChildren());
  sprites = []; figures = []; cells = run.strips.map(() => []);
  const ends = run.sources ? 2 : 0;
  table.style.width = `${120 + (run.columns.length + ends) * (run.columns.length > 7 ? 66 : 92)}px`;
  const top = make('tr', head);
  make('td', top).style.width = '112px';
  const titles = ends ? ['first', ...run.columns, 'second'] : run.columns;
  titles.forEach(text => { make('th', top, text).scope = 'col'; });
  run.rows.forEach((text, row) => {
    const line = make('tr', body);
    make('th', line, text).scope = 'row';
    for (let column = 0; column < titles.length; column++) make('td', line);
  });
  run.strips.forEach((strip, number) => {
    run.places.forEach(([row, column], frame) => {
      const place = body.rows[number * run.block + row].cells[1 + column + (ends ? 1 : 0)];
      const button = make('button', place), canvas = canvasIn(button), note = make('small', button);
      button.type = 'button';
      button.setAttribute('aria-pressed', 'false');
      button.setAttribute('aria-label', `${strip.label}, ${run.captions[frame]}`);
      button.addEventListener('click', () => { pause(); show(run.order.indexOf(frame)); });
      cells[number][frame] = {button, canvas, note};
    });
    const figure = make('figure', screens);
    make('figcaption', figure, strip.label);
    figures.push(canvasIn(figure));
  });
  screens.classList.toggle('many', figures.length > 4);
  player.hidden = false;
  scrub.max = run.order.length - 1;
  scrub.value = 0;
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

function show(at) {
  scrub.value = at;
  const frame = run.order[+scrub.value];
  figures.forEach((canvas, number) => {
    canvas.setAttribute('aria-label', `${run.strips[number].label}, ${run.captions[frame]}`);
    if (sprites[number]) copy(canvas, sprites[number].image, frame);
  });
  cells.forEach(strip => strip.forEach(({button}, i) => button.setAttribute('aria-pressed', String(i === frame))));
  read.textContent = run.captions[frame];
  scrub.setAttribute('aria-valuetext', run.captions[frame]);
}

const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

async function take(value) {
  if (!value || !value.run) return;
  if (!run || run.run !== value.run) { run = {...value, sources: value.mix}; build(); }
  const mine = run;
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
  if (!value.complete) return;
  (value.notes || []).forEach((notes, strip) => notes.forEach((text, frame) => { cells[strip][frame].note.textContent = text; }));
  hint.textContent = value.hint || '';
  table.setAttribute('aria-busy', 'false');
  table.dataset.drawn = run.run;
}

// ---- controls --------------------------------------------------------------------------------------------------------

function pause() { clearInterval(timer); timer = null; play.classList.remove('on'); play.setAttribute('aria-label', 'Play'); }

function advance() {
  const last = +scrub.max, at = +scrub.value;
  if (run.closed) return show(at < last ? at + 1 : 0);
  if (at >= last) forward = false;
  if (at <= 0) forward = true;
  show(at + (forward ? 1 : -1));
}

scrub.addEventListener('input', () => { pause(); show(+scrub.value); });
$('.first').addEventListener('click', () => { pause(); show(0); });
$('.last').addEventListener('click', () => { pause(); show(+scrub.max); });
play.addEventListener('click', () => {
  if (timer) return pause();
  play.classList.add('on');
  play.setAttribute('aria-label', 'Pause');
  timer = setInterval(advance, 120);
});

watch('value', () => take(props.value));
take(props.value);
