// Answers requests, one JSON line each, about TF.js in Node: what its packages hold, and what a graph computes and by which kernels.
// Started by tfjs_operators.py with NODE_PATH at a node_modules that has @tensorflow/tfjs and its backends.
const fs = require('fs');
const path = require('path');
const readline = require('readline');

const print = console.log;
console.log = console.warn = () => {};
// The WebGPU backend reads these when it is imported; nothing of it is run here.
for (const name of ['GPUBufferUsage', 'GPUTextureUsage', 'GPUShaderStage', 'GPUMapMode']) globalThis[name] = {};

const tf = require('@tensorflow/tfjs');
require('@tensorflow/tfjs-backend-wasm');
require('@tensorflow/tfjs-backend-webgpu');

const engine = tf.engine();
const runKernel = engine.runKernel.bind(engine);
let kernels = new Set();
engine.runKernel = (name, inputs, attributes) => {
  kernels.add(name);
  return runKernel(name, inputs, attributes);
};

function backends() {
  const names = ['cpu', 'wasm', 'webgl', 'webgpu'];
  return Object.fromEntries(names.map((name) => [name, tf.getKernelsForBackend(name).map((k) => k.kernelName).sort()]));
}

function loaded(directory) {
  const model = JSON.parse(fs.readFileSync(path.join(directory, 'model.json')));
  const [group] = model.weightsManifest;
  const data = Buffer.concat(group.paths.map((name) => fs.readFileSync(path.join(directory, name))));
  const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.length);
  return tf.loadGraphModel({ load: async () => ({ ...model, weightSpecs: group.weights, weightData }) });
}

function tensor({ values, shape, dtype }) {
  if (dtype !== 'complex64') return tf.tensor(values.map((v) => (typeof v === 'string' && dtype !== 'string' ? Number(v) : v)), shape, dtype);
  const parts = [0, 1].map((part) => tf.tensor(values.filter((_, k) => k % 2 === part), shape));
  return tf.complex(...parts);
}

async function run({ model: directory, backend, inputs, outputs }) {
  await tf.setBackend(backend);
  await tf.ready();
  const model = await loaded(directory);
  kernels = new Set();
  engine.startScope();
  try {
    const feeds = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensor(value)]));
    kernels = new Set();
    const results = [await model.executeAsync(feeds, outputs)].flat();
    const used = [...kernels];
    const plain = (v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v);
    const read = async (t) => ({ shape: t.shape, dtype: t.dtype, values: Array.from(await t.data(), plain) });
    return { kernels: used, results: await Promise.all(results.map(read)) };
  } finally {
    engine.endScope();
    model.dispose();
  }
}

const operations = { backends: async () => backends(), run };
let queue = Promise.resolve();
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const request = JSON.parse(line);
  const answer = () => operations[request.operation](request).catch((error) => ({ error: String((error && error.message) || error) }));
  queue = queue.then(answer).then((value) => print(JSON.stringify(value)));
});
