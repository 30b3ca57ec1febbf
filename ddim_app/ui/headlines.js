// Compare's headline is that of the example that was chosen last.
document.addEventListener('example', ({detail}) => {
  const said = props.value[detail];
  if (said) element.querySelectorAll('.in-compare > *').forEach((node, i) => { node.textContent = said[i]; });
});
