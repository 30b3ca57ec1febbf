// What is drawn: the first few ways as buttons, the others behind More.
const root = element.querySelector('.modes'), group = root.querySelector('.radios'), options = JSON.parse(root.dataset.looks), FIRST = 4;
const SIGNS = {
  line: 'M4 8h8M2 8a1.3 1.3 0 1 0 2.6 0A1.3 1.3 0 1 0 2 8m9.4 0a1.3 1.3 0 1 0 2.6 0 1.3 1.3 0 1 0-2.6 0',
  loop: 'M13 6.5A5.2 5.2 0 0 0 3.6 5.2M3 9.5a5.2 5.2 0 0 0 9.4 1.3M3.4 2.4v2.9h2.9m6.3 8.3v-2.9H9.7',
  grid: 'M2.5 2.5h4.4v4.4H2.5zm6.6 0h4.4v4.4H9.1zM2.5 9.1h4.4v4.4H2.5zm6.6 0h4.4v4.4H9.1z',
  mix: 'M1.8 8a4 4 0 1 0 8 0 4 4 0 1 0-8 0m4.4 0a4 4 0 1 0 8 0 4 4 0 1 0-8 0',
};
let all = false;

function button(parent, words, sign) {
  const made = make('button', '', parent);
  made.type = 'button';
  if (sign) icon(made, sign);
  made.append(words);
  return made;
}

function show() {
  const rest = options.slice(FIRST).map(([, name]) => name);
  all ||= rest.includes(props.value);
  group.replaceChildren();
  root.querySelector('.more')?.remove();
  (all ? options : options.slice(0, FIRST)).forEach(([words, name]) => {
    const made = button(group, words, SIGNS[name]), is = name === props.value;
    made.setAttribute('role', 'radio');
    made.setAttribute('aria-checked', String(is));
    made.tabIndex = is ? 0 : -1;
    made.addEventListener('click', () => { props.value = name; show(); trigger('input'); });
  });
  if (!all) {
    const more = button(root, '··· More');
    more.className = 'more';
    more.addEventListener('click', () => { all = true; show(); group.children[FIRST].focus(); });
  }
  document.body.dataset.mode = props.value;
  document.dispatchEvent(new CustomEvent('mode'));
}

group.addEventListener('keydown', event => {
  const radios = [...group.querySelectorAll('[role=radio]')], by = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  const at = radios.indexOf(event.target);
  if (!by || at < 0) return;
  event.preventDefault();
  event.stopPropagation();
  radios[(at + by + radios.length) % radios.length].click();
  group.querySelector('[aria-checked="true"]').focus();
});
watch('value', show);
show();
