// Draws lines over a common axis into an SVG. All of it is made anew each time, so a line never goes missing with those before.
const draw = (name, parent, attributes, words) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  if (words !== undefined) node.textContent = words;
  parent.append(node);
  return node;
};

// Round numbers in even steps, from at most `least` to at least `most`.
function roundTicks(least, most, count = 4) {
  const rough = (most - least || Math.abs(most) || 1) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(by => by * power).find(each => each >= rough * 0.999);
  const low = Math.floor(least / step + 1e-9), high = Math.ceil(most / step - 1e-9);
  return Array.from({length: Math.max(high, low + 1) - low + 1}, (_, i) => +((low + i) * step).toPrecision(12));
}

// Round places along the bottom, the last one among them; whole ones where all are whole.
function placesBelow(along, first, last, count) {
  const isWhole = along.every(Number.isInteger), round = roundTicks(first, last, count).filter(mark => mark >= first && mark < last - (last - first) * 0.12);
  return [...round.filter(mark => !isWhole || Number.isInteger(mark)), last];
}

const colourOf = at => `var(--arm-${at % 8})`;
const tidy = value => Math.abs(value) >= 1e4 || (value && Math.abs(value) < 1e-3) ? value.toExponential(1) : String(+value.toPrecision(4));

// `series` is [{name, colour, dashed, points: [[x, y or null], ...]}]; `ticks` are the marks of the x axis where they are given,
// `dots` leaves the lines out, `floor` is the least mark of y, `limit` a dashed line across, `now` a line upwards; with `named`
// each line bears its name. `bars` take the place of lines, `range` is what the x axis spans, `names` are [[x, words], ...] below
// it in the place of numbers.
// Returns where the marks are: {x, left, right, low, high}, or null where there is nothing to draw.
function drawLines(plot, {series, title = '', log = false, dots = false, bars = false, ticks = null, range = null, names = null, floor = null, limit = null, now = null, named = false}) {
  plot.replaceChildren();
  const [, , width, height] = plot.getAttribute('viewBox').split(' ').map(Number);
  const points = series.flatMap(line => line.points.filter(([, y]) => y !== null && y !== undefined));
  if (!points.length) return null;
  const values = points.map(([, y]) => y), marks = roundTicks(floor ?? Math.min(...values), Math.max(...values, ...(limit ? [limit.at] : [])), height < 120 ? 3 : 5);
  const [least, most] = [marks[0], marks[marks.length - 1]], along = range ?? [...(ticks ?? []), ...points.map(([x]) => x)];
  const [first, last] = [Math.min(...along), Math.max(...along)], scale = log ? Math.log : Number;
  const left = 10 + 6.2 * Math.max(...marks.map(mark => tidy(mark).length)), right = width - 6, high = title ? 22 : 8, low = height - 20;
  const x = value => left + (right - left) * (scale(value) - scale(first)) / (scale(last) - scale(first) || 1);
  const y = value => low - (low - high) * (value - least) / (most - least);
  if (title) draw('text', plot, {class: 'heading', x: 0, y: 9}, title);
  marks.forEach(mark => {
    draw('line', plot, {class: 'rule', x1: left, x2: right, y1: y(mark), y2: y(mark)});
    draw('text', plot, {x: left - 5, y: y(mark) + 4, 'text-anchor': 'end'}, tidy(mark));
  });
  const below = names ?? (ticks ?? placesBelow(along, first, last, Math.max(2, Math.floor((right - left) / 70)))).map(mark => [mark, tidy(mark)]);
  below.forEach(([mark, words], i) => draw('text', plot, {x: x(mark), y: low + 15, 'text-anchor': i === below.length - 1 && x(mark) > right - 12 ? 'end' : 'middle'}, words));
  if (limit) {
    draw('line', plot, {class: 'limit', x1: left, x2: right, y1: y(limit.at), y2: y(limit.at)});
    draw('text', plot, {x: left + 3, y: y(limit.at) - 4}, limit.words);
  }
  if (now !== null && now >= first && now <= last) draw('line', plot, {class: 'now', x1: x(now), x2: x(now), y1: high - 4, y2: low});
  series.forEach((line, i) => {
    const group = draw('g', plot, {style: `--own: ${colourOf(line.colour ?? i)}`}), known = line.points.filter(([, value]) => value !== null && value !== undefined);
    if (bars) {
      const wide = (x(1) - x(0)) * 0.82 / series.length;
      known.forEach(([at, value]) => draw('rect', group, {class: at === now ? 'bar here' : 'bar', x: x(at) + (i - series.length / 2) * wide, y: y(value), width: wide, height: low - y(value), rx: Math.min(2, wide / 3)}));
      return;
    }
    let path = '', broken = true;
    line.points.forEach(([at, value]) => {
      if (value === null || value === undefined) { broken = true; return; }
      path += `${broken ? 'M' : 'L'}${x(at).toFixed(2)},${y(value).toFixed(2)}`;
      broken = false;
    });
    if (!dots) draw('path', group, {class: 'line', d: path, ...(line.dashed ? {'stroke-dasharray': '4 3'} : {})});
    if (dots || known.length <= 24 && height >= 120) known.forEach(([at, value]) => draw('circle', group, {cx: x(at), cy: y(value), r: at === now ? 4.5 : 2.8}));
    if (named && known.length) draw('text', group, {class: 'own', x: x(known[0][0]) + 7, y: y(known[0][1]) - 2}, line.name);
  });
  const ends = series.filter(line => line.points.length).map(line => `${line.name}: ${line.points.map(([at, value]) => `${tidy(at)} ${value === null || value === undefined ? 'not known' : tidy(value)}`).slice(0, 12).join(', ')}`);
  plot.setAttribute('aria-label', `${title || 'Chart'}. ${ends.join('; ')}`);
  return {x, left, right, low, high};
}

