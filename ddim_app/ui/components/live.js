// Sends the settings while they are moved: the next when the first picture of the one before is there, the newest waits meanwhile,
// and only after a second it overtakes.
const button = element.querySelector('button'), body = document.body.classList;
let serial = 0, flying = 0, waiting = false, over = null, soon = null;
let sent = null, latest = null;   // the settings, as text: those of the last run, and those of now
let done = '';                    // those of the run that is drawn whole
const {names, begin} = props;

const tell = kind => document.dispatchEvent(new CustomEvent(kind, {detail: 'compare'}));
const isOn = () => button.getAttribute('aria-checked') === 'true';

// What waits is not sent, and what still comes of the runs before is dropped.
function overtake() {
  clearTimeout(soon);
  clearTimeout(over);
  flying = 0;
  waiting = false;
  window.newest = ++serial;
}

function send() {
  overtake();
  sent = latest;
  flying = serial;
  over = setTimeout(() => { flying = 0; if (waiting) send(); }, 1000);
  trigger('input', {serial, held: Boolean(window.dragging)});
}

// The page tells of every change, whoever made it; the settings that it begins with are those of the stored run.
window.setting = values => {
  const now = JSON.stringify(values);
  sent ??= JSON.stringify(begin);
  if (now === latest) return;
  latest = now;
  window.ladderNow?.(named(values), named(begin));
  if (now === sent) clearTimeout(soon);
  if (!isOn() && !window.opening) {
    if (now === sent) tell('fresh'); else if (props.allowed || !showNow()) tell('stale'); else trigger('select');   // a host that runs nothing unasked has what is stored
    return;
  }
  if (window.opening || !isOn() || (now === sent && !waiting)) return;
  if (window.dragging && window.showStored?.(named(values))) {   // no server is asked while a stored picture is there
    overtake();
    sent = '';   // what is shown is of no run
    return;
  }
  tell('stale');
  if (flying) { waiting = true; return; }
  clearTimeout(soon);
  soon = setTimeout(send, window.dragging ? 0 : 40);   // several fields may change at once, and Run may follow
};

// A picture of the run with that serial is on the screen.
window.arrived = number => {
  if (number < flying) return;
  flying = 0;
  clearTimeout(over);
  if (waiting) send();
};
// The ladder follows when nobody drags and nothing is on its way.
const named = values => Object.fromEntries(names.map((name, i) => [name, values[i]]));
const finish = () => {
  if (window.dragging || window.moving() || done !== (latest ?? sent ?? JSON.stringify(begin))) return;
  window.laddered?.(named(JSON.parse(done)), named(begin), isOn());
};
// Shows what is stored of the settings of now, which asks no server, in the place of a run; says whether there is something.
const showNow = () => {
  const values = latest ?? JSON.stringify(begin);
  if (!window.showStored?.(named(JSON.parse(values)), named(begin))) return false;
  sent = done = values;
  return true;
};
window.finished = () => { done = sent ?? JSON.stringify(begin); finish(); };
document.addEventListener('lostpointercapture', () => setTimeout(() => {
  if (isOn() && latest !== null && latest !== sent && !flying && !window.dragging) { tell('stale'); send(); } else finish();
}, 60), true);

// A page that was opened by a link waits for all of its settings and begins with its run: stored, or made once somebody looks.
window.linked = async how => {
  const {tab, press} = JSON.parse(how || '{}'), held = window.opening;
  if (tab) {
    await window.openTab(tab);
    await window.settled();
    await window.storedReady;
  }
  window.opening = false;
  if (tab === 'compare' && press !== 'run-exactly' && showNow()) return finish();
  if (press) {
    while (document.hidden) await new Promise(next => document.addEventListener('visibilitychange', next, {once: true}));
    await window.press(`#${press}`);
  } else if (!held || latest === null || latest === sent || !isOn()) return;
  else if (tab) { tell('stale'); body.add('costly'); } else { tell('stale'); send(); }
};

// After a reload the stage shows what was drawn before, from what it has kept or from what is stored: nothing has to be sent for it.
const before = window.kept('live');
window.keepers.live = () => ({done, on: isOn()});
if (before?.done && window.kept('stage')) sent = done = before.done;
else if (before?.done && before.done !== JSON.stringify(begin)) window.until(() => window.storedReady).then(async ready => {
  await ready;
  if (window.showStored?.(named(JSON.parse(before.done)), named(begin))) sent = done = before.done;
});

// What is stored of the model of now has come: it takes the place of the bundled model's pictures on a page that opens with another,
// and on a host that runs nothing unasked that of a run.
document.addEventListener('set', async ({detail}) => {
  const arms = document.querySelector('#stage .arms');
  await window.until(() => arms.getAttribute('aria-busy') === 'false');
  const now = latest ?? JSON.stringify(begin), isOpened = arms.dataset.drawn === 'stored' && [JSON.stringify(begin), before?.done].includes(now);
  if (named(JSON.parse(now)).model !== detail || window.moving() || window.dragging || window.opening) return;
  if (isOpened || (!props.allowed && now !== sent)) showNow();
});

window.moving = () => Boolean(flying || waiting);
// Waits until the run that has ended is on the screen; throws where a newer one is under way, whose end follows.
window.landed = async () => {
  const mine = serial;
  await window.until(() => !window.moving() || serial !== mine);
  if (serial !== mine) throw 'later';
};

// Run was pressed with these settings.
window.ran = values => {
  overtake();
  sent = JSON.stringify(values);
};

function answered() {
  const {serial: number, costly, wrong} = props.value ?? {};
  if (!number || number < serial) return;
  body.toggle('costly', costly !== undefined);
  const run = document.getElementById('run');
  if (run) run.textContent = costly ? `Run, about ${Math.ceil(costly)} s` : 'Run';
  if (wrong) tell('fresh');
  if (costly !== undefined) showNow();   // Live pauses, or this machine is too slow for it
  if (wrong || costly !== undefined) window.arrived(number);
}

// The run that was asked for does not come: the next change is sent at once.
document.addEventListener('failed', () => {
  clearTimeout(over);
  flying = 0;
  waiting = false;
});

button.addEventListener('click', () => {
  button.setAttribute('aria-checked', String(!isOn()));
  body.toggle('live', isOn());
  if (isOn() && latest !== null && latest !== sent) { tell('stale'); send(); }
});
watch('value', answered);
if (props.allowed && before?.on !== false) body.add('live'); else if (props.allowed) button.setAttribute('aria-checked', 'false'); else { button.setAttribute('aria-checked', 'false'); button.remove(); }
