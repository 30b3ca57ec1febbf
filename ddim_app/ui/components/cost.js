// What a run takes, and what follows in the background while Live is on, the rest as a tooltip; or that a field is wrong, which is said on the field where it is in sight.
const place = element.querySelector('p');
const show = () => {
  const value = props.value ?? '', hidden = window.wrong?.(value.wrong ?? {}, props.places);
  const [first, ...more] = (value.wrong ? hidden || 'waiting for a value' : value).split('\n');
  const [, words, behind] = first.match(/^(.*?)( \(\+.*\))?$/);
  place.textContent = words;
  if (behind) place.append(Object.assign(document.createElement('span'), {className: 'behind', textContent: behind}));
  place.title = more.join('\n');
};
watch('value', show);
