// Rows of captioned pictures. Text is set as text; `data-drawn` counts what has been drawn.
const place = element.querySelector('.figures');
let drawn = 0;
const made = (tag, text) => { const node = document.createElement(tag); if (text !== undefined) node.textContent = text; return node; };
const show = () => {
  place.replaceChildren(...((props.value || {}).rows || []).map(row => {
    const line = made('div'); line.className = row.large ? 'row large' : 'row';
    if (row.label) line.append(made('b', row.label));
    const strip = made('div'); strip.setAttribute('role', 'group'); strip.setAttribute('aria-label', row.label || 'pictures');
    for (const cell of row.cells) {
      const figure = made('figure'), image = made('img');
      image.src = cell.png; image.alt = `${row.label || ''} ${cell.caption}`;
      figure.append(image, made('figcaption', cell.caption)); strip.append(figure);
    }
    line.append(strip);
    return line;
  }));
  place.dataset.drawn = ++drawn;
};
watch('value', show);
show();
