// One of a few numbers; one that a recipe brings and that is none of them gets a place of its own.
const [group, name, segments] = ['.choice', '.name', '.segments'].map(selector => element.querySelector(selector));
const id = `choice-${Math.random().toString(36).slice(2)}`;
name.textContent = props.label;
group.setAttribute('aria-label', props.label);

function show() {
  const all = props.options.includes(props.value) || typeof props.value !== 'number' ? props.options : [...props.options, props.value];
  segments.replaceChildren(...all.map(value => {
    const label = document.createElement('label'), radio = document.createElement('input');
    Object.assign(radio, {type: 'radio', name: id, value, checked: value === props.value});
    radio.addEventListener('change', () => { props.value = value; trigger('input'); trigger('release'); });
    label.append(radio, String(value));
    return label;
  }));
}
watch('value', show);
show();
