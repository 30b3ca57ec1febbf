// A table of texts; `data-drawn` counts what has been drawn.
const table = element.querySelector('table');
let drawn = 0;
const line = (tag, texts) => { const row = document.createElement('tr');
  for (const text of texts) { const cell = document.createElement(text ? tag : 'td'); cell.textContent = text; row.append(cell); } return row; };
const show = () => {
  const value = props.value || {}, head = document.createElement('thead'), body = document.createElement('tbody');
  if (value.head) head.append(line('th', value.head));
  body.append(...(value.rows || []).map(texts => line('td', texts)));
  table.replaceChildren(head, body);
  table.dataset.drawn = ++drawn;
};
watch('value', show);
show();
