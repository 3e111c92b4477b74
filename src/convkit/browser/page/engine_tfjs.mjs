// TF.js in the preview: its scripts are loaded here, one after the other, because each adds to the global of the first.

import { loadModel, useBackend } from '../javascript/tfjs_model.mjs';
import { contentsOf, fetched, gpuAdapter, graphicsDriver, readyTfjs } from './tfjs.mjs';

const PARTS = ['core', 'converter', 'layers', 'backend-cpu', 'backend-wasm', 'backend-webgl', 'backend-webgpu'];

function loadScript(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = new URL(`../${address}`, import.meta.url).href;
    script.addEventListener('load', resolve);
    script.addEventListener('error', () => reject(new Error(`${address} does not load`)));
    document.head.append(script);
  });
}

/** @param files The addresses of the model's JSON and of its shards, per group. */
export async function open({ model, shards }) {
  for (const part of PARTS) await loadScript(`packages/tfjs-${part}.js`);
  const tf = readyTfjs();
  const topology = await (await fetched(model)).json();
  const weights = await contentsOf(shards.flat());
  const notes = { webgl: graphicsDriver(), webgpu: await gpuAdapter() };
  return ['cpu', 'wasm', 'webgl', 'webgpu'].map((backend) => ({
    name: backend,
    note: notes[backend] ?? '',
    async start() {
      if (backend === 'webgpu' && !notes.webgpu) throw new Error('this browser has no WebGPU adapter');
      await useBackend(tf, backend);
      return loadModel(tf, topology, weights);
    },
  }));
}
