// Saves the file that a value brings, once, and says so. The name is an attribute and the words are text, never markup.
const place = element.querySelector('p');
let saved = null;

function take(value) {
  if (value && value.note) { place.textContent = value.note; return; }
  if (!value || !value.data || value.id === saved) return;
  saved = value.id;
  const bytes = Uint8Array.from(atob(value.data), letter => letter.charCodeAt(0));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([bytes], {type: value.mime}));
  link.download = value.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  place.textContent = `Saved ${value.name}, ${Math.ceil(bytes.length / 1000)} kB.`;
}

watch('value', () => take(props.value));
take(props.value);
