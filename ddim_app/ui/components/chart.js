// A chart of lines with a legend, as wide as its place; under the pointer, the numbers at the nearest place of the x axis.
const [plot, legend, tip] = ['.plot', '.legend', '.tip'].map(selector => element.querySelector(selector));
let places = null, shown = {series: []};

// Drawn in the pixels of the screen, so that words have one size in a wide place and in a narrow one.
function fit() {
  plot.toggleAttribute('hidden', !shown.series.length);
  const width = Math.round(plot.getBoundingClientRect().width);
  if (!width) return;
  plot.setAttribute('viewBox', `0 0 ${width} ${shown.height ?? 220}`);
  places = drawLines(plot, shown);
}

function show(value) {
  shown = value?.series ? value : {series: []};
  fit();
  tip.textContent = '';
  legend.replaceChildren(...(shown.series.length < 2 ? [] : shown.series.map((line, i) => {
    const item = document.createElement('li'), mark = document.createElement('i');
    item.style.setProperty('--own', colourOf(line.colour ?? i));
    mark.classList.toggle('dashed', Boolean(line.dashed));
    item.append(mark, line.name);
    return item;
  })));
}

plot.addEventListener('pointermove', event => {
  if (!places) return;
  const box = plot.getBoundingClientRect(), at = (event.clientX - box.left) * plot.viewBox.baseVal.width / box.width;
  const known = [...new Set(shown.series.flatMap(line => line.points.map(([x]) => x)))];
  const near = known.reduce((a, b) => Math.abs(places.x(b) - at) < Math.abs(places.x(a) - at) ? b : a);
  const each = shown.series.map(line => [line.name, line.points.find(([x]) => x === near)?.[1]]).filter(([, y]) => y !== undefined && y !== null);
  tip.textContent = `${shown.x ?? 'x'} ${tidy(near)}: ${each.map(([name, y]) => shown.series.length > 1 ? `${name} ${tidy(y)}` : tidy(y)).join(' · ')}`;
});
plot.addEventListener('pointerleave', () => { tip.textContent = ''; });
watch('value', () => show(props.value));
show(props.value);
new ResizeObserver(fit).observe(element);
