() => {
  // Ctrl+Enter runs, Esc stops, R rolls the seed; a plain letter never fires while somebody types.
  const press = id => document.getElementById(id)?.click();
  document.addEventListener('keydown', event => {
    const typing = event.target.closest?.('input, textarea, [contenteditable], [role="listbox"], [role="combobox"]');
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); document.querySelector('.go:not(.hidden)')?.click(); }
    else if (event.key === 'Escape' && !event.defaultPrevented && (!typing || typing.type === 'range')) press('stop');
    else if (event.key === 'r' && !event.ctrlKey && !event.metaKey && !event.altKey && (!typing || typing.type === 'range')) press('dice');
  });
}
