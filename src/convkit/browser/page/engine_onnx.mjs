// ONNX Runtime Web in the preview.

import * as ort from '../packages/ort/ort.all.min.mjs';
import { fetched } from './tfjs.mjs';

const DECODER = new TextDecoder();
const ENCODER = new TextEncoder();

class OnnxModel {
  constructor(session) {
    this.session = session;
  }

  async run(feeds) {
    const inputs = Object.fromEntries(
      feeds.map(({ name, dtype, shape, values }) => [
        name,
        new ort.Tensor(dtype, dtype === 'string' ? values.map((v) => DECODER.decode(v)) : values, shape),
      ]),
    );
    const results = await this.session.run(inputs);
    return Promise.all(this.session.outputNames.map((name) => OnnxModel.#read(name, results[name])));
  }

  static async #read(name, tensor) {
    const values = await tensor.getData(true);
    return {
      name,
      dtype: tensor.type,
      shape: [...tensor.dims],
      values: tensor.type === 'string' ? values.map((text) => ENCODER.encode(text)) : values,
    };
  }

  dispose() {
    return this.session.release();
  }
}

/** @param files The addresses of the model and of its external data, by the location that the model knows it by. */
export async function open({ model, data }) {
  ort.env.wasm.wasmPaths = new URL('../packages/ort/', import.meta.url).href;
  ort.env.logLevel = 'error';
  const bytes = new Uint8Array(await (await fetched(model)).arrayBuffer());
  const externalData = await Promise.all(
    Object.entries(data).map(async ([path, address]) => ({
      path,
      data: new Uint8Array(await (await fetched(address)).arrayBuffer()),
    })),
  );
  // Its webgl backend is no longer kept, and takes no dynamic sizes.
  return ['wasm', 'webgpu'].map((name) => ({
    name,
    note: '',
    async start() {
      if (name === 'webgpu' && !(await navigator.gpu?.requestAdapter())) throw new Error('this browser has no WebGPU adapter');
      const options = { executionProviders: [name], externalData, logSeverityLevel: 3 };
      return new OnnxModel(await ort.InferenceSession.create(bytes, options));
    },
  }));
}
