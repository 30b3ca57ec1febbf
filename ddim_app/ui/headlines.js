// Compare's headline is that of the example that was chosen last, and was not refused.
let shown = Object.keys(props.value)[0], before = shown;
function show(example) {
  const said = props.value[example];
  if (!said) return;
  [before, shown] = [shown, example];
  element.querySelectorAll('.in-compare > *').forEach((node, i) => { node.textContent = said[i]; });
}
document.addEventListener('example', ({detail}) => show(detail));
document.addEventListener('refused', () => show(before));
