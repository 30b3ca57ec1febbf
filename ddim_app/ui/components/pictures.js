// Which picture goes up: one of a few, or the visitor's own from a file, the webcam, the clipboard or a drop. Own ones go the way of
// Gradio's file input, which is out of sight.
const $ = selector => element.querySelector(selector);
const [root, samples, camera, video, said] = ['.pictures', '.samples', '.camera', 'video', '.said'].map($);
const input = () => document.querySelector('#invert-upload input[type=file]');
const looks = JSON.parse(root.dataset.looks);
let stream = null;

function send(file) {
  const place = input(), list = new DataTransfer();
  if (!file || !place) return;
  list.items.add(file);
  place.files = list.files;
  place.dispatchEvent(new Event('change', {bubbles: true}));
  place.value = '';
}
const problem = words => { said.textContent = words; said.classList.add('bad'); };

$('.upload').addEventListener('click', () => { const place = input(); if (place) { place.value = ''; place.click(); } });
$('.paste').addEventListener('click', async () => {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find(name => name.startsWith('image/'));
      if (type) return send(new File([await item.getType(type)], `pasted.${type.split('/')[1]}`, {type}));
    }
    problem('There is no picture in the clipboard.');
  } catch { problem('This browser gives no picture from the clipboard here: press Ctrl+V, or upload a file.'); }
});
document.addEventListener('paste', event => {
  if (document.body.dataset.tab !== 'invert') return;
  const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith('image/'));
  if (file) { event.preventDefault(); send(file); }
});
const closeCamera = () => { stream?.getTracks().forEach(track => track.stop()); stream = null; camera.hidden = true; };
$('.webcam').addEventListener('click', async () => {
  if (stream) return closeCamera();
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: true});
    video.srcObject = stream;
    camera.hidden = false;
    await video.play();
  } catch {
    problem(window.isSecureContext ? 'There is no webcam here, or the browser may not use it.' : 'Browsers give the webcam to https or their own machine alone: upload a file.');
  }
});
$('.close').addEventListener('click', closeCamera);
$('.take').addEventListener('click', () => {
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth; canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  closeCamera();
  canvas.toBlob(blob => send(new File([blob], 'webcam.png', {type: 'image/png'})), 'image/png');
});
root.addEventListener('dragover', event => { event.preventDefault(); root.classList.add('over'); });
root.addEventListener('dragleave', () => root.classList.remove('over'));
root.addEventListener('drop', event => { event.preventDefault(); root.classList.remove('over'); send(event.dataTransfer.files[0]); });

function show() {
  const {chosen, thumb, size, words, bad} = props.value ?? {}, all = [...looks.samples];
  if (thumb) all.push({name: 'upload', picture: thumb, title: 'Your own picture'});
  samples.replaceChildren(...all.map(({name, picture, title}) => {
    const button = document.createElement('button'), image = document.createElement('img');
    button.type = 'button';
    button.dataset.name = name;
    button.title = title;
    button.setAttribute('aria-pressed', String(name === chosen));
    image.src = picture;
    image.alt = title;
    button.append(image);
    button.addEventListener('click', () => trigger('select', {act: 'picture', value: name}));
    return button;
  }));
  $('.size').textContent = size ?? '';
  said.textContent = words ?? '';
  said.classList.toggle('bad', Boolean(bad));
  $('.kept').textContent = looks.kept;
  document.body.toggleAttribute('data-own', chosen === 'own');
}
watch('value', show);
show();
