// What a tab's run is doing. While it goes on Stop stands in the place of Run; a live run is spoken of only when it takes its time.
// One that could not start marks the field that is wrong; one that has brought its model lets the page ask what that is.
// One that could not be asked for, or is heard of no more, can be tried again.
const [status, bar, words, again] = ['.status', '.bar i', 'p', '.again'].map(selector => element.querySelector(selector));
let late = null;

function draw() {
  const value = props.value ?? '', busy = typeof value === 'object' && !value.wrong;
  clearTimeout(late);
  late = null;
  const news = value.words ?? value, isDone = !busy && news.startsWith('Done');
  if (isDone && window.held) document.addEventListener('let-go', draw, {once: true}); else words.textContent = news;   // a result is read out on release
  if (value.wrong) window.wrong?.(value.wrong, props.places);
  if (isDone && document.querySelector(`.cost.in-${props.tab} p`)?.textContent.startsWith('This model is')) document.getElementById('model-fetched')?.click();
  bar.style.width = `${100 * (busy ? value.part : 0)}%`;
  again.hidden = true;
  status.classList.toggle('busy', busy);
  status.classList.toggle('done', isDone);
  document.body.classList.toggle(`busy-${props.tab}`, busy);
}

function show() {
  if (props.value?.live && !status.classList.contains('busy')) late ??= setTimeout(draw, 400); else draw();
}
document.addEventListener('failed', ({detail}) => {
  const isOpen = props.tab === (document.body.dataset.tab ?? 'compare'), isBusy = status.classList.contains('busy');
  if (!isOpen && !(detail.everywhere && isBusy)) return;
  clearTimeout(late);
  late = null;
  status.classList.remove('busy', 'done');
  document.body.classList.remove(`busy-${props.tab}`);
  words.textContent = detail.words;
  again.hidden = false;
});
again.addEventListener('click', () => { again.hidden = true; window.press(`.go.in-${props.tab}`); });
watch('value', show);
