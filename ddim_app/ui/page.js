() => {
  // A wrong value is said on its field, and any answer to an event that has the field among its inputs takes the words away
  // again. So Run waits until what follows a change of settings has been answered.
  const ask = window.fetch;
  let open = 0, idling = 0, last = -Infinity;
  const health = () => ask(`${window.gradio_config?.root ?? ''}/health`).catch(() => null);
  // A server that has just begun has no answer to what comes unqueued yet, and six of those would be all that a browser asks at once.
  const begun = (async () => {
    while ((await (await health())?.json().catch(() => null))?.status === 'starting') await new Promise(next => setTimeout(next, 300));
  })();
  window.fetch = async (...request) => {
    const address = String(request[0]?.url ?? request[0]);
    if (/\/queue\/(join|data)|\/upload(\?|$)/.test(address)) return watched(request, address.includes('/queue/data'));
    if (!address.includes('/run/predict')) return ask(...request);
    await begun;
    open++;
    try { return await ask(...request); } finally { open--; last = performance.now(); }
  };
  // Where a run is not taken or nothing more is heard of it, the foot says so, and offers to try again.
  let streams = 0;
  const fail = (words, everywhere) => { window.serverLost = everywhere; document.dispatchEvent(new CustomEvent('failed', {detail: {words, everywhere}})); };
  const cut = () => fail('The connection was cut before the run was through.', true);
  // Why there is no result: the server's sentence, or one for a page that is some proxy's. A list of verdicts is Gradio's to show.
  const why = async answer => {
    const {status} = answer, said = await answer.clone().json().then(({detail}) => typeof detail === 'string' ? detail : '', () => null);
    if (status === 413) return said || 'What was sent is larger than this server, or a proxy before it, takes.';
    if (status === 422) return said ?? 'This server, or a proxy before it, does not take this request (HTTP 422).';
    if (status < 500) return '';
    if (said === null) return `The server, or a proxy before it, could not answer (HTTP ${status}).`;
    return status === 503 ? 'As many runs as this server takes are waiting.' : 'The server could not answer.';
  };
  async function watched(request, isStream) {
    const answer = await ask(...request).catch(error => { if (error.name !== 'AbortError') fail('The server cannot be reached.', true); throw error; });
    const words = answer.ok ? '' : await why(answer);
    if (words) fail(words); else window.serverLost = false;
    if (!isStream || !answer.body) return answer;
    const reader = answer.body.getReader();
    streams++;
    const passOn = async controller => {
      const {done, value} = await reader.read().catch(error => {
        if (error.name === 'AbortError') return {done: true};   // Gradio itself has closed it
        streams--;
        cut();
        throw error;
      });
      if (!done) return controller.enqueue(value);
      streams--;
      controller.close();
      setTimeout(() => { if (!streams && /\bbusy-/.test(document.body.className)) cut(); }, 1000);
    };
    return new Response(new ReadableStream({pull: passOn, cancel: reason => { streams--; return reader.cancel(reason); }}), answer);
  }
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

  // An unlocked seed is rolled by every Run.
  window.rolled = seed => document.querySelector('#seed .lock').getAttribute('aria-pressed') === 'true' ? seed : Math.floor(Math.random() * 1000);

  // Each wrong field of the open tab has its sentence under it; what comes back are the sentences of fields out of sight.
  window.wrong = (sentences, places) => {
    document.querySelectorAll('[data-bad]').forEach(field => { delete field.dataset.bad; field.querySelector('.wrong')?.remove(); });
    return Object.entries(sentences).flatMap(([name, sentence]) => {
      const field = document.getElementById(places[name]);
      if (!field?.offsetParent) return [sentence];
      const words = document.createElement('p');
      Object.assign(words, {className: 'wrong', textContent: sentence});
      words.setAttribute('role', 'alert');
      field.dataset.bad = '';
      field.append(words);
      return [];
    }).join(' ');
  };

  // Plain http gives no clipboard, so the words are shown, selected.
  window.copied = async text => {
    try { await navigator.clipboard.writeText(text); } catch { window.prompt('Copy:', text); return; }
    const button = document.activeElement, words = button?.textContent;
    if (!button?.closest?.('#share') || words === 'Copied') return;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = words; }, 1500);
  };

  // A chip stays marked while all that it names is as it has set it; one that is refused is not. The page opens on the first ones.
  const pressed = {}, chosen = row => pressed[row] ?? document.querySelector(`#${row} button`)?.textContent.trim();
  const mark = (row, words) => document.querySelectorAll(`#${row} button`).forEach(chip => {
    const on = chip.textContent.trim() === words;
    chip.classList.toggle('on', on);
    chip.setAttribute('aria-pressed', String(on));
  });
  window.until(() => document.querySelector('#examples button')).then(() => { if (!pressed.examples) mark('examples', chosen('examples')); });
  // Names and values by their places among `values`; null is any value but none.
  window.marked = (row, known, values) => {
    const holds = Object.entries(known[chosen(row)] ?? {}).every(([i, value]) => (value === null ? values[i] : String(values[i]) === String(value)));
    mark(row, holds ? chosen(row) : '');
  };
  let takeBack = () => {};   // of the example that was pressed last
  document.addEventListener('refused', () => takeBack());
  document.addEventListener('click', ({target}) => {
    const chip = target.closest?.('.chips button');
    if (!chip) return;
    const row = chip.parentElement.id, before = chosen(row), words = chip.textContent.trim();
    if (row === 'examples' && words !== before) {
      const headline = [...document.querySelectorAll('#headlines .in-compare > *')], said = headline.map(line => line.textContent);
      takeBack = () => { pressed[row] = before; mark(row, before); headline.forEach((line, i) => { line.textContent = said[i]; }); };
      document.dispatchEvent(new CustomEvent('example', {detail: words}));
    }
    pressed[row] = words;
    mark(row, words);
  });

  // What is wider than a phone is scrolled, by keys too.
  const narrow = matchMedia('(max-width: 1000px)');
  const reach = () => document.querySelectorAll('.chapter .formula').forEach(formula => { if (narrow.matches) formula.tabIndex = 0; else formula.removeAttribute('tabindex'); });
  narrow.addEventListener('change', reach);
  new MutationObserver(async () => { if (document.body.dataset.tab === 'learn' && await window.until(() => document.querySelector('.chapter .formula'))) reach(); })
    .observe(document.body, {attributes: true, attributeFilter: ['data-tab']});

  // Paper is white.
  let isDark = false;
  addEventListener('beforeprint', () => { isDark = document.body.classList.contains('dark'); document.body.classList.remove('dark'); });
  addEventListener('afterprint', () => document.body.classList.toggle('dark', isDark));

  // In a frame as high as its page nothing sticks to the screen's edge.
  const fit = () => document.body.classList.toggle('whole', window !== window.top && innerHeight >= document.documentElement.scrollHeight);
  addEventListener('resize', fit);
  fit();

  // A training run shows up in an open page while its list of models is looked at; a page at rest asks for nothing. The server is
  // asked beside Gradio's events: one that meets the answer to another may take it from the page.
  let models;
  const look = async () => {
    const answer = await health();
    if (!answer?.ok) return;
    const names = JSON.stringify((await answer.json()).models);
    if (models !== undefined && names !== models) window.press('#new-models');
    models = names;
  };
  look();
  let looking;
  document.addEventListener('focusin', ({target}) => {
    clearInterval(looking);
    if (!target.closest?.('[id*="model"]')) return;
    look();
    looking = setInterval(() => { if (document.activeElement?.closest('[id*="model"]')) look(); }, 3000);
  });

  // Ctrl+Enter runs, Esc stops, R rolls the seed; a plain letter never fires while somebody types.
  document.addEventListener('keydown', event => {
    const field = event.target.closest?.('input, textarea, [contenteditable], [role="listbox"], [role="combobox"]');
    const choosing = field?.matches('[role="listbox"], [role="combobox"]');
    const typing = field && !['range', 'radio', 'checkbox', 'button'].includes(field.type);
    const tab = document.body.dataset.tab ?? 'compare', withOthers = event.ctrlKey || event.metaKey || event.altKey;
    const press = where => document.querySelector(where)?.click();
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); press(`.go.in-${tab}`); }
    else if (event.key === 'Escape' && !event.defaultPrevented && !choosing) press(`.halt.in-${tab}`);
    else if (typing || withOthers) return;
    else if (event.key === 'r') press(tab === 'interpolate' ? '#ends .tools button' : '#seed .dice');
    else if (tab === 'compare' && event.key && !event.defaultPrevented && 'fd'.includes(event.key)) press(event.key === 'f' ? '#stage .flip' : '#stage .differs');
  });
}
