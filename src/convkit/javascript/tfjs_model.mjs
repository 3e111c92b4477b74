// Loads and runs a TF.js model of either kind; the same in Node and in a page. `tf` is the namespace of TF.js with the
// converter's and the layers API's loaders in it.

/** Makes a backend the current one; throws where this TF.js has none of that name, or it does not start. */
export async function useBackend(tf, backend) {
  if (tf.getBackend() !== backend && !(tf.findBackendFactory(backend) && (await tf.setBackend(backend)))) {
    throw new Error(`the backend ${backend} does not start here`);
  }
  await tf.ready();
}

/**
 * @param tf TF.js.
 * @param topology The object in `model.json`.
 * @param weights What all shards hold, one after the other: its `byteLength`, and a `slice(start, end)` (or a promise of one),
 *   as an ArrayBuffer has them.
 */
export async function loadModel(tf, topology, weights) {
  chainOperations(tf);
  if (isLayersModel(topology)) {
    const whole = () => weights.slice(0, weights.byteLength);
    return new LayersModel(tf, await tf.loadLayersModel(handlerOf(tf, topology, whole)));
  }
  // As a stream: the loader copies all weights otherwise, and both copies are in memory at once.
  const { load } = handlerOf(tf, topology, () => new ArrayBuffer(0));
  const streamed = async () => {
    const artifacts = await load();
    return { ...artifacts, weightData: undefined, getWeightStream: () => streamOf(weights, artifacts.weightSpecs) };
  };
  return new GraphModel(tf, await tf.loadGraphModel({ load: streamed }, { streamWeights: true }));
}

function handlerOf(tf, topology, weightData) {
  const loadWeights = async (manifest) => [manifest.flatMap((group) => group.weights), await weightData()];
  return { load: () => tf.io.getModelArtifactsForJSON(topology, loadWeights) };
}

const ELEMENT_BYTES = { float32: 4, int32: 4, complex64: 8, float16: 2, uint16: 2, uint8: 1, bool: 1 };
const BLOCK_BYTES = 1 << 22;

/** The weights one by one, which is what the loader copies least; strings, whose lengths are in the data, in blocks. */
function streamOf(weights, specs) {
  let start = 0;
  let next = 0;
  return new ReadableStream({
    async pull(controller) {
      if (start >= weights.byteLength) return controller.close();
      while (next < specs.length && bytesOf(specs[next]) === 0) next++;
      const size = next < specs.length ? bytesOf(specs[next]) : NaN;
      next = size ? next + 1 : specs.length;
      const end = Math.min(start + (size || BLOCK_BYTES), weights.byteLength);
      controller.enqueue(await weights.slice(start, end));
      start = end;
    },
  }, { highWaterMark: 0 });
}

/** How long a weight is, NaN where only the data tell. */
function bytesOf({ dtype, shape, quantization }) {
  return shape.reduce((product, size) => product * size, 1) * ELEMENT_BYTES[quantization?.dtype ?? dtype];
}

/** Makes methods of the operations that the layers API calls as such; only the whole package, which has all backends, has them. */
function chainOperations(tf) {
  const { prototype } = tf.Tensor;
  prototype.flatten ??= function () {
    return tf.reshape(this, [this.size]);
  };
  for (const name of ['reshape', 'sign', 'stridedSlice', 'transpose']) {
    prototype[name] ??= function (...args) {
      return tf[name](this, ...args);
    };
  }
}

function isLayersModel({ format, modelTopology }) {
  return format === 'layers-model' || (!format && ('model_config' in modelTopology || 'class_name' in modelTopology));
}

/** Runs are alike for both kinds of model: tensors in, `_execute`, values out, and nothing is left behind. */
class Model {
  constructor(tf, model) {
    this.tf = tf;
    this.model = model;
  }

  /** Runs once; `feeds` and the result are lists of {name, dtype, shape, values}; the outputs are all of the model's. */
  run(feeds) {
    return this._evaluate(feeds, this.outputNames);
  }

  /** The values of any tensors inside, by name, on the same inputs. */
  intermediates(feeds, names) {
    return this._evaluate(feeds, names);
  }

  async _evaluate(feeds, names) {
    const engine = this.tf.engine();
    engine.startScope();
    const watch = watchKernels(engine);
    let results = [];
    try {
      const tensors = Object.fromEntries(feeds.map((feed) => [feed.name, toTensor(this.tf, feed)]));
      results = await this._execute(tensors, names);
      return await Promise.all(results.map((tensor, i) => fromTensor(this.tf, names[i], tensor)));
    } catch (error) {
      throw watch.explained(error);
    } finally {
      watch.stop();
      engine.endScope();
    }
  }

  dispose() {
    this.model.dispose();
  }
}

class GraphModel extends Model {
  constructor(tf, model) {
    super(tf, model);
    this.signature = model.modelSignature ?? {};
    this.isAsync = false;
  }

  get inputNames() {
    // What an initialiser has captured (hash tables) is an input that TF.js fills in itself.
    return this.model.inputNodes.filter((name) => this.signature.inputs?.[name]?.resourceId == null);
  }

  get outputNames() {
    return this.model.outputNodes;
  }

  async intermediates(feeds, names) {
    const nodes = this.model.executor.graph.nodes;
    for (const name of names) {
      const [node] = name.split(':');
      if (!(node in nodes)) throw new Error(`the graph has no node ${name}`);
      const tensor = this.signature.outputs?.[name]?.name;
      if (tensor && tensor.split(':')[0] !== node) throw new Error(`${name} is an output and another node`);
    }
    return super.intermediates(feeds, names);
  }

  async _execute(tensors, names) {
    if (this.model.resourceIdToCapturedInput == null) await this._initialise();
    if (!this.isAsync) {
      try {
        return listed(this.model.execute(tensors, names));
      } catch (error) {
        if (!/executeAsync\(\)/.test(error.message)) throw error;
        this.isAsync = true; // control flow, or sizes that only the values tell
      }
    }
    return listed(await this.model.executeAsync(tensors, names));
  }

  /** Hash tables outlive the run that fills them. */
  async _initialise() {
    const captured = await this.model.executeInitializerGraphAsync();
    captured.forEach((tensor) => tensor && this.tf.keep(tensor));
    this.model.setResourceIdToCapturedInput(captured);
  }
}

class LayersModel extends Model {
  get inputNames() {
    return this._built().inputNames;
  }

  /** As convkit's reader names them: a layer with several outputs gives each a number. */
  get outputNames() {
    if (!this.names) {
      const layers = this._built().outputNames;
      this.names = layers.map((name, i) => (layers.indexOf(name) === layers.lastIndexOf(name) ? name : `${name}_${i}`));
    }
    return this.names;
  }

  /** A Sequential model names its tensors when it is built, which loading leaves to the first call. */
  _built() {
    if (!this.model.built) this.model.build();
    return this.model;
  }

  async _execute(tensors, names) {
    const inputs = this.inputNames.map((name) => tensors[name]);
    const model = names === this.outputNames ? this.model : this._upTo(names);
    // In one batch: the default cuts it up and joins the parts.
    const batchSize = Math.max(1, ...inputs.map((input) => input.shape[0] ?? 1));
    return listed(model.predict(inputs.length === 1 ? inputs[0] : inputs, { batchSize }));
  }

  _upTo(layers) {
    return this.tf.model({ inputs: this.model.inputs, outputs: layers.map((name) => this.model.getLayer(name).output) });
  }
}

function listed(result) {
  return Array.isArray(result) ? result : [result];
}

function toTensor(tf, { dtype, shape, values }) {
  if (dtype !== 'complex64') return tf.tensor(values, shape, dtype);
  const even = values.filter((_, i) => i % 2 === 0);
  const odd = values.filter((_, i) => i % 2 === 1);
  return tf.complex(tf.tensor(even, shape, 'float32'), tf.tensor(odd, shape, 'float32'));
}

async function fromTensor(tf, name, tensor) {
  if (tensor == null) throw new Error(`the output ${name} was not computed: it is in a branch that was not taken`);
  const { dtype, shape } = tensor;
  const values = dtype === 'string' ? (shape.includes(0) ? [] : await tensor.bytes()) : await tensor.data();
  return { name, dtype, shape, values };
}

/** Remembers which kernel runs, so that an error can name its operator. */
function watchKernels(engine) {
  const original = engine.runKernel;
  let last = '';
  engine.runKernel = function (name, ...rest) {
    last = name;
    return original.call(this, name, ...rest);
  };
  return {
    stop: () => {
      engine.runKernel = original;
    },
    explained: (error) => {
      const missing = /(?:[Kk]ernel '(\w+)' not registered|registered kernel '(\w+)') for backend '(\w+)'/.exec(error.message);
      if (missing) return new Error(`the backend ${missing[3]} has no kernel for the operator ${missing[1] ?? missing[2]}`);
      const unknown = /Unknown op '(\w+)'/.exec(error.message);
      if (unknown) return new Error(`TF.js has no operator ${unknown[1]}`);
      return last ? new Error(`in the operator ${last}, or after it: ${error.message}`) : error;
    },
  };
}
