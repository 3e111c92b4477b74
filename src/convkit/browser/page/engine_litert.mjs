// LiteRT.js in the preview.

import { Tensor, loadAndCompile, loadLiteRt } from '../packages/litert/index.js';
import { fetched } from './tfjs.mjs';

class LiteRtModel {
  constructor(model, outputs) {
    this.model = model;
    this.outputs = outputs;
  }

  async run(feeds) {
    const inputs = {};
    const made = [];
    try {
      for (const { name, shape, values } of feeds) made.push((inputs[name] = new Tensor(values, shape)));
      const results = await this.model.run(inputs);
      made.push(...Object.values(results));
      return await Promise.all(this.outputs.map((name) => LiteRtModel.#read(name, results[name])));
    } finally {
      made.forEach((tensor) => tensor.delete());
    }
  }

  static async #read(name, tensor) {
    const values = (await tensor.data()).slice();
    return { name, dtype: tensor.type.dtype, shape: [...tensor.type.layout.dimensions], values };
  }

  dispose() {
    this.model.delete();
  }
}

/** @param files The address of the model, and the names of its outputs. */
export async function open({ model, outputs }) {
  await loadLiteRt(new URL('../packages/litert-wasm/', import.meta.url).href);
  const bytes = new Uint8Array(await (await fetched(model)).arrayBuffer());
  return ['wasm', 'webgpu'].map((accelerator) => ({
    name: accelerator,
    note: '',
    async start() {
      if (accelerator === 'webgpu' && !(await navigator.gpu?.requestAdapter())) {
        throw new Error('this browser has no WebGPU adapter');
      }
      return new LiteRtModel(await loadAndCompile(bytes, { accelerator }), outputs);
    },
  }));
}
