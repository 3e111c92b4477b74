// The process that runs TF.js models for `node.py`: reads calls from one pipe, answers on another, one at a time.
// Arguments: the directory of node_modules, the descriptor to read from, the descriptor to write to.

import { closeSync, openSync, readFileSync, readSync, statSync, writeSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';

import { answer, createOperations } from './tfjs_operations.mjs';
import { PREFIX_BYTES, packMessage, readPrefix, unpackTensors } from './wire.mjs';

const [directory, requests, answers] = process.argv.slice(2);
const packages = createRequire(`${directory}/`);

// A model that never ends does not see that its caller is gone; a thread of its own does.
new Worker(
  `const parent = ${process.ppid};
   setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, 'SIGKILL'); }, 1000);`,
  { eval: true },
).unref();

// Libraries talk on the standard streams; both are the log's.
console.log = console.info = console.debug = console.error;

const tf = { ...packages('@tensorflow/tfjs-core') };
packages('@tensorflow/tfjs-backend-cpu');
packages('@tensorflow/tfjs-backend-wasm');
const { loadGraphModel } = packages('@tensorflow/tfjs-converter');
const { loadLayersModel, model } = packages('@tensorflow/tfjs-layers');
Object.assign(tf, { loadGraphModel, loadLayersModel, model });
tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false); // the same sums on every machine

/** Files as one, read where it is asked for. */
function openShards(paths) {
  const sizes = paths.map((path) => statSync(path).size);
  const byteLength = sizes.reduce((sum, size) => sum + size, 0);

  function slice(start, end) {
    const bytes = new Uint8Array(end - start);
    for (let i = 0, offset = 0; i < paths.length; offset += sizes[i], i++) {
      const from = Math.max(start, offset);
      const to = Math.min(end, offset + sizes[i]);
      if (from < to) readInto(bytes.subarray(from - start, to - start), paths[i], from - offset);
    }
    return bytes.buffer;
  }
  return { byteLength, slice };
}

function readInto(bytes, path, position) {
  const file = openSync(path);
  try {
    for (let at = 0; at < bytes.byteLength;) {
      const got = readSync(file, bytes, at, Math.min(bytes.byteLength - at, 1 << 30), position + at);
      if (got === 0) throw new Error(`${path} has become shorter`);
      at += got;
    }
  } finally {
    closeSync(file);
  }
}

/** The next `length` bytes, null at the end of the pipe. */
function read(length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const got = readSync(Number(requests), bytes, at, Math.min(length - at, 1 << 30));
    if (got === 0) return null;
    at += got;
  }
  return bytes;
}

function write(parts) {
  for (const part of parts) {
    for (let at = 0; at < part.byteLength;) at += writeSync(Number(answers), part, at, Math.min(part.byteLength - at, 1 << 30));
  }
}

const operations = createOperations(tf, async (path) => readFileSync(path, 'utf8'), openShards);

for (let prefix = read(PREFIX_BYTES); prefix; prefix = read(PREFIX_BYTES)) {
  const lengths = readPrefix(prefix);
  const header = JSON.parse(new TextDecoder().decode(read(lengths.header)));
  const payload = read(lengths.payload);
  write(await answer(operations, packMessage, header, unpackTensors(header.tensors, payload)));
}
process.exit(0);
