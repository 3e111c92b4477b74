// What the preview shows. Names come from models, so everything is text, never markup.

const SHOWN_VALUES = 8;
const DECODER = new TextDecoder();

/** An element with attributes and children (elements or text). */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function table(head, rows) {
  const header = element('tr', {}, ...head.map((text) => element('th', { scope: 'col' }, text)));
  const body = rows.map((cells) => element('tr', {}, ...cells));
  return element('table', {}, element('thead', {}, header), element('tbody', {}, ...body));
}

const cell = (text, kind = '') => element('td', kind ? { class: kind } : {}, text);
const rowHead = (text) => element('th', { scope: 'row' }, text);

export function signatureTable({ inputs, outputs }) {
  const rows = [...inputs.map((t) => ['input', t]), ...outputs.map((t) => ['output', t])].map(([role, { name, dtype, shape }]) => [
    cell(role),
    cell(name, 'code'),
    cell(dtype, 'code'),
    cell(shape ? `[${shape.join(', ')}]` : 'any', 'code'),
  ]);
  return table(['', 'Name', 'Type', 'Shape'], rows);
}

export function facts(pairs) {
  return pairs.flatMap(([label, text]) => [element('dt', {}, label), element('dd', {}, text)]);
}

const figure = (label, value) => element('div', {}, element('dt', {}, label), value);

const WORDS = {
  waiting: 'waiting',
  running: 'running…',
  agrees: 'agrees',
  differs: 'differs',
  failed: 'does not run',
  absent: 'not here',
};

/** A backend's card; `update` fills it in as the run goes on. */
export function backendCard(backend) {
  const badge = element('span', { class: 'badge' });
  const latency = element('dd');
  const difference = element('dd');
  const note = element('p', { class: 'note' });
  const card = element(
    'article',
    { class: 'card' },
    element('div', { class: 'bar' }, element('h3', {}, backend.name), badge),
    element('dl', { class: 'figures' }, figure('warm median', latency), figure('difference', difference)),
    note,
  );
  function update(result) {
    badge.textContent = WORDS[result.state];
    badge.className = `badge ${result.state}`;
    latency.textContent = result.latency === undefined ? '–' : milliseconds(result.latency);
    difference.textContent = result.difference === undefined ? '–' : share(result.difference);
    note.textContent = result.reason || backend.note;
  }
  update({ state: 'waiting' });
  return { card, update };
}

export function milliseconds(time) {
  return time < 10 ? `${time.toFixed(2)} ms` : time < 1000 ? `${time.toFixed(0)} ms` : `${(time / 1000).toFixed(1)} s`;
}

export function share(difference) {
  return difference === 0 ? 'equal' : Number.isFinite(difference) ? difference.toExponential(1) : 'another result';
}

/** The first values of every input, and of every output on the reference and on each backend. */
export function valuesTables(set, results) {
  const inputs = set.inputs.map((tensor) => [rowHead(tensor.name), ...valueCells(tensor)]);
  const parts = [titled('Inputs', ['Input', 'Shape', 'First values'], inputs)];
  for (const reference of set.expected) {
    const rows = [[rowHead(set.runtime), ...valueCells(reference)]];
    for (const { name, outputs } of results) {
      const output = outputs?.find((tensor) => tensor.name === reference.name);
      if (output) rows.push([rowHead(name), ...valueCells(output)]);
    }
    parts.push(titled(`Output ${reference.name}`, ['Where', 'Shape', 'First values'], rows));
  }
  return parts.flat();
}

function titled(title, head, rows) {
  const region = { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': title };
  return [element('h3', { class: 'values-title' }, title), element('div', region, table(head, rows))];
}

function valueCells({ shape, dtype, values }) {
  const first = Array.from(values.slice(0, SHOWN_VALUES), (value) => printed(value, dtype));
  return [cell(`[${shape.join(', ')}]`, 'code'), cell(first.join('  ') + (values.length > SHOWN_VALUES ? '  …' : ''), 'code')];
}

function printed(value, dtype) {
  if (dtype === 'string') return JSON.stringify(DECODER.decode(value).slice(0, 40));
  if (dtype === 'bool') return String(Boolean(value));
  return dtype.startsWith('float') ? Number(value).toPrecision(5) : String(value);
}
