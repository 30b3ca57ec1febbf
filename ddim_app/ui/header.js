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
window.opened = name => {
  document.body.dataset.tab = name;
  tabs.forEach(tab => {
    const is = tab.dataset.tab === name;
    tab.setAttribute('aria-selected', String(is));
    tab.tabIndex = is ? 0 : -1;
    if (is) tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
  });
};

// On a phone all but the link is behind this.
const more = element.querySelector('.more');
document.addEventListener('click', ({target}) => {
  const isOn = target === more && document.body.classList.toggle('sharing');
  if (!isOn) document.body.classList.remove('sharing');
  more.setAttribute('aria-expanded', String(isOn));
});
