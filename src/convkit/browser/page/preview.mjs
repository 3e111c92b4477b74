// Loads a model, runs it on every backend that this browser has, and shows how fast and how right it is.

import { unpackMessage } from '../javascript/wire.mjs';
import { compare, warmLatency } from './measure.mjs';
import { fetched } from './tfjs.mjs';
import { backendCard, facts, signatureTable, valuesTables } from './view.mjs';

const ENGINES = { tfjs: './engine_tfjs.mjs', onnx: './engine_onnx.mjs', litert: './engine_litert.mjs' };
const byId = (id) => document.getElementById(id);

/** One input set with the outputs of convkit's own runtime. */
async function readSet({ recipe, inputs, expected }, runtime) {
  const messages = await Promise.all([inputs, expected].map(async (address) => (await fetched(address)).arrayBuffer()));
  const [feeds, outputs] = messages.map((message) => unpackMessage(new Uint8Array(message)).tensors);
  return { recipe, runtime, inputs: feeds, expected: outputs };
}

/** An output by its name; by its place where the runtime has other names than convkit's reader. */
function matching(outputs, name, place) {
  return outputs.find((tensor) => tensor.name === name) ?? outputs[place];
}

/** The result of one backend on all sets: state, latency of the first set, worst difference, outputs per set. */
async function evaluate(backend, sets, tolerance) {
  let model;
  try {
    model = await backend.start();
  } catch (error) {
    const absent = /does not start here|no WebGPU|not available|no available backend/i.test(error.message);
    return { state: absent ? 'absent' : 'failed', reason: error.message };
  }
  try {
    const outputs = [];
    for (const set of sets) outputs.push(await model.run(set.inputs));
    const judged = sets.flatMap((set, i) =>
      set.expected.map((wanted, k) => ({
        ...compare(wanted, matching(outputs[i], wanted.name, k)),
        where: `${wanted.name} (${set.recipe})`,
      })),
    );
    const worst = judged.reduce((a, b) => (b.difference > a.difference ? b : a));
    const latency = await warmLatency(model, sets[0].inputs);
    const state = worst.difference <= tolerance ? 'agrees' : 'differs';
    return { state, latency, difference: worst.difference, outputs, reason: worst.problem && `${worst.where}: ${worst.problem}` };
  } catch (error) {
    return { state: 'failed', reason: error.message };
  } finally {
    await model.dispose();
  }
}

function showModel({ title, kind, signature, details }) {
  document.title = `${title} · convkit preview`;
  byId('name').textContent = title;
  byId('kind').textContent = kind;
  byId('signature').replaceChildren(signatureTable(signature));
  byId('facts').replaceChildren(...facts(details));
}

function showValues(sets, results) {
  const index = byId('sets').selectedIndex;
  if (index < 0) return;
  const there = results.map(({ name, outputs }) => ({ name, outputs: outputs?.[index] }));
  byId('values').replaceChildren(...valuesTables(sets[index], there));
}

async function post(summary) {
  await fetch(new URL('../results', import.meta.url), { method: 'POST', body: JSON.stringify(summary) });
}

/** What goes back to the command line. */
function summarised(results) {
  return results.map(({ name, note, state, latency, difference, reason }) => ({
    backend: name,
    state,
    note,
    latency_ms: latency ?? null,
    difference: Number.isFinite(difference) ? difference : null,
    reason: reason ?? '',
  }));
}

async function runAll(backends, cards, sets, tolerance, results) {
  byId('again').disabled = true;
  cards.forEach(({ update }) => update({ state: 'waiting' }));
  for (const [i, backend] of backends.entries()) {
    byId('status').textContent = `Running on ${backend.name}…`;
    cards[i].update({ state: 'running' });
    // A backend may block the page while it compiles: let it be painted first.
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    results[i] = { name: backend.name, note: backend.note, ...(await evaluate(backend, sets, tolerance)) };
    cards[i].update(results[i]);
    showValues(sets, results);
  }
  const ran = results.filter(({ state }) => state === 'agrees' || state === 'differs');
  const agree = ran.filter(({ state }) => state === 'agrees');
  byId('status').textContent =
    `${agree.length} of ${ran.length} backends that ran agree with ${sets[0].runtime} ` +
    `(within ${tolerance.toExponential(0)} of an output's largest value).`;
  byId('again').disabled = false;
  await post({ backends: summarised(results) });
}

async function main() {
  const preview = await (await fetched('preview.json')).json();
  showModel(preview);
  const sets = await Promise.all(preview.sets.map((set) => readSet(set, preview.runtime)));
  byId('sets').replaceChildren(...sets.map(({ recipe }) => new Option(recipe)));
  byId('sets').disabled = false;
  const { open } = await import(ENGINES[preview.engine]);
  const backends = await open(preview.files);
  const cards = backends.map(backendCard);
  byId('backends').replaceChildren(...cards.map(({ card }) => card));
  const results = backends.map(({ name }) => ({ name }));
  const run = () => runAll(backends, cards, sets, preview.tolerance, results);
  byId('sets').addEventListener('change', () => showValues(sets, results));
  byId('again').addEventListener('click', run);
  showValues(sets, results);
  await run();
}

try {
  await main();
} catch (error) {
  console.error(error);
  byId('status').textContent = `The model does not load: ${error.message}`;
  await post({ error: error.message });
}
