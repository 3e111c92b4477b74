// What Python asks of TF.js, in Node and in a page: the name of an operation, its arguments and tensors in, a header and
// tensors out.

import { loadModel, useBackend } from './tfjs_model.mjs';

/**
 * @param tf TF.js.
 * @param readText Reads a text file, by the address that Python gave.
 * @param openShards What the files at a list of addresses hold, one after the other: see `loadModel`.
 */
export function createOperations(tf, readText, openShards) {
  const models = new Map();

  /** Loads a model under a number. */
  async function load({ id, backend, model, shards }) {
    await useBackend(tf, backend);
    const topology = JSON.parse((await readText(model)).replace(/^\uFEFF/, ''));
    const loaded = await loadModel(tf, topology, await openShards(shards.flat()));
    models.set(id, loaded);
    return [{ inputs: loaded.inputNames, outputs: loaded.outputNames }, []];
  }

  async function run({ id, backend }, feeds) {
    await useBackend(tf, backend);
    return [{}, await models.get(id).run(feeds)];
  }

  async function intermediates({ id, backend, names }, feeds) {
    await useBackend(tf, backend);
    return [{}, await models.get(id).intermediates(feeds, names)];
  }

  async function unload({ ids }) {
    for (const id of ids) {
      models.get(id)?.dispose();
      models.delete(id);
    }
    return [{}, []];
  }

  async function memory() {
    return [{ count: tf.memory().numTensors }, []];
  }

  return { load, run, intermediates, unload, memory };
}

/** The answer to one call, as the parts of a message; what goes wrong is an answer too. */
export async function answer(operations, packMessage, header, tensors) {
  try {
    const [result, values] = await operations[header.operation](header, tensors);
    return packMessage(result, values);
  } catch (error) {
    console.error(error);
    return packMessage({ error: String(error?.message ?? error) }, []);
  }
}
