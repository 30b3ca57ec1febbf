// The chapters beside the scroll: where the reader is, which are guessed, and what has to be filled as it comes into sight.
const $ = selector => element.querySelector(selector), {chapters, first} = props.value;
const [story, deeper, settings, print] = ['.story', '.deeper', '.settings', '.print'].map($);
const filled = new Map(props.value.filled.map(name => [name, 0]));
let version = 0, current = null, soon = null, watcher = null, jumping = 0;
const placeOf = slug => document.getElementById(`learn-${slug}`);

const links = chapters.map(({slug, title, name}, i) => {
  const link = document.createElement('a'), item = document.createElement('li');
  link.href = `#learn-${slug}`;
  if (i < first) link.append(Object.assign(document.createElement('i'), {textContent: i + 1}));
  link.append(title);
  link.addEventListener('click', event => { event.preventDefault(); jump(slug); placeOf(slug)?.querySelector('h2')?.focus({preventScroll: true}); });
  item.append(link);
  (i < first ? story : deeper).append(item);
  return link;
});

function mark(chapter) {
  if (chapter === current) return;
  current = chapter;
  window.chapter = chapter.name;
  links.forEach((link, i) => { if (chapters[i] === chapter) link.setAttribute('aria-current', 'true'); else link.removeAttribute('aria-current'); });
  const link = links[chapters.indexOf(chapter)], nav = $('.contents');
  if (nav.scrollWidth > nav.clientWidth) nav.scrollTo({left: link.offsetLeft - 60});
  trigger('input');
  clearTimeout(soon);
  soon = setTimeout(fill, 200);
}
function fill() {
  if (!current || filled.get(current.name) === version || document.body.dataset.tab !== 'learn') return;
  filled.set(current.name, version);
  window.due(current.name);
}
// The panels that are to be filled: one is asked for at a time, with the newest values, so that no answer comes after a newer one.
const due = new Set();
let asking = false;
function ask() {
  const [panel] = due;
  if (asking || !panel) return;
  due.delete(panel);
  asking = true;
  trigger('select', {panel});
}
window.due = name => { if (name !== 'world') due.add(name); ask(); };
window.filledOne = () => { asking = false; ask(); };
document.addEventListener('failed', window.filledOne);
// Settings have changed, or the picture: the chapter in sight follows by itself, the others once they come into sight.
let known = JSON.stringify(props.begin);
window.lessonsStale = values => {
  const news = JSON.stringify(values);
  if (values && news === known) return;  // events also come of an update that changes nothing
  known = values ? news : known;
  version++;
  if (values) fill();  // of a picture the chapter hears once it is there
  else if (current) filled.set(current.name, version);
};

function jump(slug) {
  history.replaceState(null, '', `#learn-${slug}`);
  jumping = performance.now();
  placeOf(slug)?.scrollIntoView({block: 'start'});
  mark(chapters.find(one => one.slug === slug));
}
// The chapter that holds the line a third down the screen.
function look() {
  if (document.body.dataset.tab !== 'learn' || performance.now() - jumping < 300) return;
  if (placeOf(chapters[0].slug)) mark(chapters.findLast(({slug}) => placeOf(slug)?.getBoundingClientRect().top <= innerHeight / 3) ?? chapters[0]);
}
addEventListener('scroll', () => { if (!watcher) watcher = requestAnimationFrame(() => { watcher = null; look(); }); }, {passive: true});

// A link to a chapter opens it. The tab's parts come only once it is open.
async function follow() {
  const chapter = chapters.find(({slug}) => location.hash === `#learn-${slug}`);
  if (!chapter) return;
  if (document.body.dataset.tab !== 'learn') await window.openTab('learn');
  let stood = scrollY;
  if (await window.until(() => placeOf(chapter.slug)?.offsetParent)) for (const wait of [100, 400, 1000]) { await new Promise(next => setTimeout(next, wait)); if (scrollY === stood) jump(chapter.slug); stood = scrollY; }  // formulas take their room late
}
addEventListener('hashchange', follow);
new MutationObserver(async () => {
  if (document.body.dataset.tab === 'learn' && await window.until(() => placeOf(chapters[0].slug)?.offsetParent)) { look(); fill(); }
}).observe(document.body, {attributes: true, attributeFilter: ['data-tab']});
follow();

document.addEventListener('guessed', ({detail}) => {
  const i = chapters.findIndex(({name}) => name === detail);
  if (i < 0 || i >= first) return;
  links[i].classList.add('done');
  links[i].querySelector('i').textContent = '✓';
});
settings.addEventListener('click', () => settings.setAttribute('aria-expanded', String(document.body.classList.toggle('learn-settings'))));
print.addEventListener('click', () => window.print());
const narrow = matchMedia('(max-width: 1000px)'), fit = () => document.body.classList.toggle('narrow', narrow.matches);
narrow.addEventListener('change', fit);
fit();
