// The foot of a chapter: the ones beside it, and its settings on pictures.
const $ = selector => element.querySelector(selector), {before, after, link, title} = props.value;
$('nav').setAttribute('aria-label', `After “${title}”`);
for (const [node, to, words] of [[$('.before'), before, `← ${before?.title}`], [$('.after'), after, `${after?.title} →`]]) {
  node.hidden = !to;
  if (to) Object.assign(node, {href: `#learn-${to.slug}`, textContent: words});
}
const button = $('.try'), isTab = link === 'invert';
button.hidden = !link;
button.textContent = isTab ? 'Try it on pictures: Invert' : 'Try it on pictures: Compare';
button.title = isTab ? '' : link;
button.addEventListener('click', () => {
  window.openTab(isTab ? link : 'compare');
  if (!isTab) [...document.querySelectorAll('#examples button')].find(chip => chip.textContent.trim() === link)?.click();
  scrollTo(0, 0);
});
