// What a page on a busy machine does not have yet is waited for, a minute at most.
window.until = async (test, most = 60000) => {
  for (const end = performance.now() + most; !test() && performance.now() < end;) await new Promise(next => setTimeout(next, 50));
  return test();
};
window.press = async where => { const button = await window.until(() => document.querySelector(where)); button?.click(); };
window.openTab = name => window.press(`#header [data-tab="${name}"]`);
