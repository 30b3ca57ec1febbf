// What a page on a busy machine does not have yet is waited for, a minute at most.
window.until = async (test, most = 60000) => {
  for (const end = performance.now() + most; !test() && performance.now() < end;) await new Promise(next => setTimeout(next, 50));
  return test();
};
window.press = async where => { const button = await window.until(() => document.querySelector(where)); button?.click(); };
// A part of the page whose settings are not those of what it shows is dimmed (page.css), until they are so again or it is filled.
{
  const now = {}, asked = {}, made = {};   // the settings of each part as text: those that stand there, of the newest run, of what is shown
  const dim = part => document.body.classList.toggle(`stale-${part}`, made[part] === null || (part in now && now[part] !== made[part]));
  window.settings = (part, own, begin) => { if (made[part] === undefined) made[part] = JSON.stringify(begin); now[part] = JSON.stringify(own); dim(part); };
  window.stale = part => { made[part] = null; dim(part); };   // whatever its settings are
  window.asked = (part, own) => { asked[part] = JSON.stringify(own); };
  window.filled = part => { if (part in asked) made[part] = asked[part]; dim(part); };
  // The picture that Invert is to take up is another one.
  let picture = null;
  window.picked = (value, first) => {
    const own = JSON.stringify([value?.chosen, value?.chosen === 'upload' && value.thumb]);
    if (own !== (picture ?? JSON.stringify([first, false]))) ['invert', 'ways'].forEach(window.stale);
    picture = own;
  };
}
// What the open tab shows, and where the page stands, as its browser knows it: on another host, on a Space, or behind a sub-path.
window.openNow = () => ({
  address: location.origin + location.pathname, tab: document.body.dataset.tab, chapter: window.chapter,
  stored: window.shownRun?.startsWith('stored {') ? JSON.parse(window.shownRun.slice('stored '.length)) : null,
});
window.openTab = name => window.press(`#header [data-tab="${name}"]`);
// Gradio tells which tab is open as soon as the tabs are there, the top bar or not.
window.opened = name => {
  document.body.dataset.tab = name;
  document.querySelectorAll('#header [role=tab]').forEach(tab => {
    const is = tab.dataset.tab === name;
    tab.setAttribute('aria-selected', String(is));
    tab.tabIndex = is ? 0 : -1;
    if (is) tab.scrollIntoView({block: 'nearest', inline: 'nearest'});
  });
};
