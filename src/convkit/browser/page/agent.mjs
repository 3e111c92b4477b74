// The page that nobody sees: asks the server for the next call, runs it, posts the answer.

import { answer, createOperations } from '../javascript/tfjs_operations.mjs';
import { packMessage, unpackMessage } from '../javascript/wire.mjs';
import { contentsOf, fetched, gpuAdapter, graphicsDriver, readyTfjs } from './tfjs.mjs';

const operations = createOperations(
  readyTfjs(),
  async (address) => (await fetched(address)).text(),
  contentsOf,
);
operations.describe = async () => [{ driver: graphicsDriver(), adapter: await gpuAdapter() }, []];

async function serveOnce() {
  const response = await fetched('next');
  if (response.status === 204) return; // nothing yet
  const { header, tensors } = unpackMessage(new Uint8Array(await response.arrayBuffer()));
  const parts = await answer(operations, packMessage, header, tensors);
  await fetch(new URL('../answer', import.meta.url), { method: 'POST', body: new Blob(parts) });
}

try {
  for (;;) await serveOnce();
} catch {
  window.close(); // the server has gone, and with it whoever started this browser
}
