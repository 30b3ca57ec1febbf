// On a phone the column is two sliders and the seed; what is rarer comes up as a sheet from below, with Live and Run at its foot.
const phone = matchMedia('(max-width: 700px)'), body = document.body, close = element.querySelector('button');
const fit = () => { body.classList.toggle('phone', phone.matches); if (!phone.matches) lower(); };
const inLearn = () => body.dataset.tab === 'learn', more = () => document.querySelector('#more > button');

function raise() {
  const side = document.getElementById('side');
  body.style.setProperty('--side', `${side.offsetHeight}px`);   // the place that it leaves stays its own
  body.classList.add('sheet');
  side.setAttribute('role', 'dialog');
  side.setAttribute('aria-modal', 'true');
  side.setAttribute('aria-label', 'More settings');
  if (!more().classList.contains('open')) more().click();
  close.focus();
}
function lower() {
  if (!body.classList.contains('sheet')) return;
  body.classList.remove('sheet');
  for (const name of ['role', 'aria-modal', 'aria-label']) document.getElementById('side').removeAttribute(name);
  more().focus();
}
document.addEventListener('click', event => {
  if (!body.classList.contains('phone')) return;
  const {target} = event, isOpen = body.classList.contains('sheet');
  if (target.closest('#more > button') && !isOpen && !inLearn() && event.isTrusted) { event.preventDefault(); event.stopPropagation(); raise(); return; }
  // What was asked for comes into sight.
  if (target.closest('.go, .chips button')) {
    lower();
    const result = {matrix: 'matrix-card', interpolate: 'strips', invert: 'invert'}[body.dataset.tab] ?? 'stage';
    if (!inLearn()) document.getElementById(result)?.scrollIntoView({block: 'start', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth'});
  } else if (isOpen && target.isConnected && !target.closest('#side, [role="listbox"]')) lower();
}, true);
document.addEventListener('keydown', event => { if (event.key === 'Escape' && body.classList.contains('sheet')) { event.preventDefault(); lower(); } }, true);
close.addEventListener('click', lower);
phone.addEventListener('change', fit);
fit();
