// What a reload brings back. Each part of the page gives what it shows as the page is left, and takes it again as it comes; a part that
// is too large for the store may give less of itself.
(() => {
  const KEY = 'ddim-explorer-page', ROOM = 4_500_000;   // characters; browsers give five million
  const isAgain = ['reload', 'back_forward'].includes(performance.getEntriesByType('navigation')[0]?.type);
  let before = {};
  try { before = (isAgain && JSON.parse(sessionStorage.getItem(KEY))) || {}; } catch { /* there is no store, or it is not ours */ }
  window.kept = name => before[name];
  window.keepers = {happened: () => ({lost: Boolean(window.serverLost), busy: /\bbusy-/.test(document.body.className)})};

  window.keep = () => {
    const parts = Object.entries({...Object.fromEntries(Object.entries(before).map(([name, value]) => [name, () => value])), ...window.keepers});
    const texts = parts.map(([name, give]) => [name, give, JSON.stringify(give() ?? null)]).sort((a, b) => a[2].length - b[2].length);
    const chosen = [];
    let room = ROOM;
    for (const [name, give, whole] of texts) {
      const text = [whole, JSON.stringify(give(true) ?? null)].find(each => each.length < room);
      if (text === undefined) continue;
      room -= text.length;
      chosen.push(`${JSON.stringify(name)}:${text}`);
    }
    for (; chosen.length; chosen.pop()) try { return sessionStorage.setItem(KEY, `{${chosen.join()}}`); } catch { /* full: without the largest */ }
  };
  addEventListener('pagehide', window.keep);

  // What has happened, for the line over the tabs.
  const {lost, busy} = before.happened ?? {};
  window.tellAgain = () => {
    if (!before.settings && !before.stage && !lost) return;
    const note = document.querySelector('#restore-note p'), how = lost ? 'The connection to the server was lost, and the page was loaded anew' : 'The page was loaded anew';
    if (note) note.textContent = `${how}: settings, pictures and recent runs are those of before.${busy ? ' The run that was under way was not finished.' : ''}`;
  };
  window.until(() => document.querySelector('#restore-note p')).then(window.tellAgain);
})();
