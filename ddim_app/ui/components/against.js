// One line of frames by DDIM and by DDPM with each kind of step noise: a row each, how far neighbours are apart, and a sentence.
const [line, rows, said, draw] = ['.line', '.rows', '.said', '.draw'].map(selector => element.querySelector(selector));

const load = async source => { const image = new Image(); image.src = source; await image.decode(); return image; };

async function show() {
  const value = props.value;
  if (!value?.rows) return;
  const images = await Promise.all(value.rows.map(row => row.picture && load(row.picture)));
  if (value !== props.value) return;
  line.textContent = value.line;
  said.replaceChildren(...value.said.split('x_T').flatMap((part, i) => i ? ['x', Object.assign(document.createElement('sub'), {textContent: 'T'}), part] : [part]));
  rows.replaceChildren();
  value.rows.forEach((row, number) => {
    const one = make('div', 'one', rows), name = make('div', '', one), frames = make('div', 'frames', one), count = value.count;
    [one, name, frames].forEach((node, i) => node.setAttribute('role', i ? 'cell' : 'row'));
    make('b', '', name, row.name).style.color = `var(--arm-${number ? 1 : 0})`;
    make('small', '', name, row.noise);
    frames.ariaLabel = `${count} frames`;
    frames.style.setProperty('--count', count);
    Array.from({length: count}, (_, i) => {
      const canvas = make('canvas', '', frames), image = images[number], width = image ? image.width / count : value.width;
      [canvas.width, canvas.height] = [width, image?.height ?? value.height];
      canvas.ariaHidden = 'true';
      if (image) canvas.getContext('2d').drawImage(image, i * width, 0, width, image.height, 0, 0, width, image.height);
    });
    make('span', 'number', one, row.mean === null ? '…' : row.mean.toFixed(1)).setAttribute('role', 'cell');
  });
}

draw.addEventListener('click', () => trigger('select', {}));
watch('value', () => { window.filled('against'); show(); });
show();
