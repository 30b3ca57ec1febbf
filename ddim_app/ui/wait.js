// What a page on a busy machine does not have yet is waited for, a minute at most.
window.until = async (test, most = 60000) => {
  for (const end = performance.now() + most; !test() && performance.now() < end;) await new Promise(next => setTimeout(next, 50));
  return test();
};
window.press = async where => { const button = await window.until(() => document.querySelector(where)); button?.click(); };
// What a tab shows is of settings of before: its parts dim themselves by the class `stale`, which page.css has, until they are filled.
window.stale = tab => document.dispatchEvent(new CustomEvent('stale', {detail: tab}));
window.openTab = name => window.press(`#header [data-tab="${name}"]`);
