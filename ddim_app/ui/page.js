() => {
  // A wrong value is said on its field, and any answer to an event that has the field among its inputs takes the words away
  // again. So Run waits until what follows a change of settings has been answered.
  const ask = window.fetch;
  let open = 0, idling = 0, last = -Infinity;
  window.fetch = async (...request) => {
    if (!String(request[0]?.url ?? request[0]).includes('/run/predict')) return ask(...request);
    open++;
    try { return await ask(...request); } finally { open--; last = performance.now(); }
  };
  // What nobody waits for, such as a line of costs, is asked for when nothing else is, or after a second.
  window.idle = async () => {
    const limit = performance.now() + 1000;
    idling++;
    do await new Promise(next => setTimeout(next, 20)); while (open && performance.now() < limit);
    idling--;
    last = performance.now();
  };
  for (const kind of ['input', 'change']) document.addEventListener(kind, () => { last = performance.now(); }, true);
  window.settled = async () => {
    const limit = performance.now() + 5000;
    while ((open || idling || performance.now() - last < 150) && performance.now() < limit) await new Promise(next => setTimeout(next, 30));
  };

  const press = id => document.getElementById(id)?.click();
  // A training run shows up in an open page. The server is asked beside Gradio's events: one that came every few seconds would
  // now and then meet the answer to another, and the page then loses one of the two.
  let models;
  const look = async () => {
    const answer = await ask(`${window.gradio_config?.root ?? ''}/health`).catch(() => null);
    if (!answer?.ok) return clearInterval(looking);
    const names = JSON.stringify((await answer.json()).models);
    if (models !== undefined && names !== models) press('new-models');
    models = names;
  };
  const looking = setInterval(look, 3000);
  look();

  // Ctrl+Enter runs, Esc stops, R rolls the seed; a plain letter never fires while somebody types.
  document.addEventListener('keydown', event => {
    const field = event.target.closest?.('input, textarea, [contenteditable], [role="listbox"], [role="combobox"]');
    const choosing = field?.matches('[role="listbox"], [role="combobox"]');
    const typing = field && !['range', 'radio', 'checkbox', 'button'].includes(field.type);
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); document.querySelector('.go:not(.hidden)')?.click(); }
    else if (event.key === 'Escape' && !event.defaultPrevented && !choosing) press('stop');
    else if (event.key === 'r' && !event.ctrlKey && !event.metaKey && !event.altKey && !typing) press('dice');
  });
}
