// The tabs of the top bar press those of Gradio, which are hidden, and show which is open.
const tabs = [...element.querySelectorAll('[role=tab]')];
const open = tab => window.press(`#tabs > .tab-wrapper [data-tab-id="${tab.dataset.tab}"]`);
tabs.forEach((tab, i) => {
  tab.addEventListener('click', () => open(tab));
  tab.addEventListener('keydown', ({key}) => {
    const next = tabs[{ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1}[key] ?? -1];
    if (next) { open(next); next.focus(); }
  });
});

window.keepers.tab = () => document.body.dataset.tab;
if (window.kept('tab')) window.openTab(window.kept('tab'));

// On a phone all but the link is behind this.
const more = element.querySelector('.more');
document.addEventListener('click', ({target}) => {
  const isOn = target === more && document.body.classList.toggle('sharing');
  if (!isOn) document.body.classList.remove('sharing');
  more.setAttribute('aria-expanded', String(isOn));
});
