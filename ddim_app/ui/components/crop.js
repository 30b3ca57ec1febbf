// A frame over a picture, moved by pointer, wheel or keys. What it says goes to the server as {x, y, zoom}.
const box = element.querySelector('.crop'), canvas = box.querySelector('canvas'), context = canvas.getContext('2d');
let image = null, aspect = 1, at = {x: 0.5, y: 0.5, zoom: 1}, from = null, id = null;

function frame() {
  const width = Math.min(canvas.width, canvas.height * aspect) / at.zoom, height = width / aspect;
  return {width, height, left: (canvas.width - width) * at.x, top: (canvas.height - height) * at.y};
}

function draw() {
  if (!image) return;
  const {left, top, width, height} = frame();
  context.drawImage(image, 0, 0);
  context.fillStyle = 'rgba(0, 0, 0, 0.55)';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, left, top, width, height, left, top, width, height);
  const line = Math.max(1, canvas.width / 160);
  context.strokeStyle = '#2dd4bf';
  context.lineWidth = line;
  context.strokeRect(left + line / 2, top + line / 2, width - line, height - line);
  canvas.dataset.place = `${at.x.toFixed(3)} ${at.y.toFixed(3)} ${at.zoom.toFixed(2)}`;
}

const within = value => Math.min(1, Math.max(0, value));
const tell = () => trigger('select', {...at});

function move(right, down) {
  const {width, height} = frame();
  const freeX = canvas.width - width, freeY = canvas.height - height;
  at.x = freeX > 0.5 ? within(at.x + right / freeX) : at.x;
  at.y = freeY > 0.5 ? within(at.y + down / freeY) : at.y;
  draw();
}

function zoom(factor) { at.zoom = Math.min(20, Math.max(1, at.zoom * factor)); draw(); }

const scale = () => canvas.width / canvas.getBoundingClientRect().width;
canvas.addEventListener('pointerdown', event => { from = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener('pointermove', event => {
  if (!from) return;
  move((event.clientX - from[0]) * scale(), (event.clientY - from[1]) * scale());
  from = [event.clientX, event.clientY];
});
canvas.addEventListener('pointerup', () => { if (from) { from = null; tell(); } });
canvas.addEventListener('wheel', event => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1); tell(); }, {passive: false});
canvas.addEventListener('keydown', event => {
  const step = canvas.width / 40, moves = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
  if (moves[event.key]) move(...moves[event.key]);
  else if (event.key === '+' || event.key === '=') zoom(1.1);
  else if (event.key === '-') zoom(1 / 1.1);
  else return;
  event.preventDefault();
  tell();
});

async function take(value) {
  if (!value || !value.picture) { box.hidden = true; id = null; return; }
  if (value.id === id) return;
  id = value.id;
  const fresh = new Image();
  fresh.src = value.picture;
  await fresh.decode();
  image = fresh; aspect = value.aspect; at = {x: 0.5, y: 0.5, zoom: 1};
  canvas.width = image.width; canvas.height = image.height;
  box.hidden = false;
  draw();
}

watch('value', () => take(props.value));
take(props.value);
