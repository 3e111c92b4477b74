// Builds layers models with TF.js itself and saves each: node tfjs_layers_models.cjs DIRECTORY
const fs = require('fs');
const path = require('path');
require('@tensorflow/tfjs-backend-cpu');
const tf = {...require('@tensorflow/tfjs-core'), ...require('@tensorflow/tfjs-layers')};

const {layers} = tf;
// The default one calls methods of tensors that the core does not register by itself.
const recurrentInitializer = 'glorotNormal';
const sequential = (...of) => tf.sequential({layers: of});

function merging() {
  const left = tf.input({shape: [4], name: 'left'});
  const right = tf.input({shape: [4], name: 'right'});
  const shared = layers.dense({units: 4, activation: 'tanh', name: 'shared'});
  const [a, b] = [shared.apply(left), shared.apply(right)];
  const merged = [layers.add(), layers.multiply(), layers.average(), layers.maximum(), layers.minimum()].map(l => l.apply([a, b]));
  const dot = layers.dot({axes: 1, normalize: true}).apply([a, b]);
  const all = layers.concatenate().apply([...merged, dot]);
  return tf.model({inputs: [right, left], outputs: [layers.dense({units: 2, name: 'scores'}).apply(all), dot]});
}

function nested() {
  const inner = sequential(layers.dense({units: 3, inputShape: [5], activation: 'selu'}), layers.dense({units: 4}));
  const input = tf.input({shape: [5], name: 'x'});
  return tf.model({inputs: input, outputs: layers.activation({activation: 'softplus'}).apply(inner.apply(input))});
}

const MODELS = {
  dense: () => sequential(
      layers.dense({units: 6, inputShape: [5], activation: 'hardSigmoid'}), layers.dropout({rate: 0.5}),
      layers.dense({units: 6, activation: 'gelu'}),
      layers.dense({units: 5, activation: 'swish', useBias: false}), layers.dense({units: 3, activation: 'softmax'})),
  images: () => sequential(
      layers.zeroPadding2d({inputShape: [12, 10, 2], padding: [[0, 1], [2, 1]]}),
      layers.conv2d({filters: 4, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu6'}), layers.batchNormalization(),
      layers.depthwiseConv2d({kernelSize: 3, padding: 'same', depthMultiplier: 2, activation: 'elu'}),
      layers.upSampling2d({size: [2, 2]}), layers.separableConv2d({filters: 6, kernelSize: 3, padding: 'same'}),
      layers.maxPooling2d({poolSize: 2}), layers.upSampling2d({size: [3, 2], interpolation: 'bilinear'}),
      layers.cropping2D({cropping: [[1, 0], [0, 2]]}), layers.conv2dTranspose({filters: 3, kernelSize: 3, strides: 2}),
      layers.averagePooling2d({poolSize: 3, strides: 2, padding: 'same'}), layers.flatten(), layers.dense({units: 2})),
  volumes: () => sequential(
      layers.conv3d({inputShape: [5, 6, 4, 1], filters: 2, kernelSize: 2}), layers.maxPooling3d({poolSize: 2}),
      layers.reshape({targetShape: [4, 2]}), layers.conv1d({filters: 3, kernelSize: 2}),
      layers.permute({dims: [2, 1]}), layers.globalMaxPooling1d()),
  pooled: () => sequential(
      layers.conv2d({inputShape: [null, null, 3], filters: 4, kernelSize: 3, dilationRate: 2}), layers.globalAveragePooling2d({})),
  activations: () => sequential(
      layers.leakyReLU({inputShape: [3, 4]}), layers.prelu({sharedAxes: [1]}), layers.elu(),
      layers.thresholdedReLU({theta: 0.2}), layers.reLU({maxValue: 2}), layers.layerNormalization(), layers.softmax({axis: -1})),
  recurrent: () => sequential(
      layers.embedding({inputDim: 16, outputDim: 5, inputShape: [7]}), layers.lstm({recurrentInitializer, units: 4, returnSequences: true}),
      layers.gru({recurrentInitializer, units: 3, returnSequences: true, recurrentActivation: 'sigmoid'}),
      layers.timeDistributed({layer: layers.dense({units: 4})}), layers.simpleRNN({recurrentInitializer, units: 3}), layers.repeatVector({n: 2}),
      layers.rnn({cell: [layers.lstmCell({recurrentInitializer, units: 3}), layers.gruCell({recurrentInitializer, units: 2})]})),
  bidirectional: () => sequential(
      layers.bidirectional({layer: layers.lstm({recurrentInitializer, units: 3, returnSequences: true}), mergeMode: 'concat', inputShape: [6, 4]}),
      layers.bidirectional({layer: layers.gru({recurrentInitializer, units: 2}), mergeMode: 'sum'})),
  merging,
  nested,
};

async function main() {
  await tf.setBackend('cpu');
  for (const [name, build] of Object.entries(MODELS)) {
    const model = build();
    // No weight is its initial one: a gamma of ones would hide that it is another's.
    model.setWeights(model.getWeights().map((w, i) => tf.randomUniform(w.shape, w.rank > 1 ? -0.6 : 0.1, 0.9, 'float32', i + 1)));
    await model.save(tf.io.withSaveHandler(async (artifacts) => {
      const folder = path.join(process.argv[2], name);
      fs.mkdirSync(folder, {recursive: true});
      const {modelTopology, weightSpecs, weightData} = artifacts;
      const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
      const content = {format: 'layers-model', generatedBy: 'TensorFlow.js', convertedBy: null, modelTopology, weightsManifest};
      fs.writeFileSync(path.join(folder, 'model.json'), JSON.stringify(content));
      fs.writeFileSync(path.join(folder, 'weights.bin'), Buffer.from(tf.io.CompositeArrayBuffer.join(weightData)));
      return {modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}};
    }));
  }
}

main().catch((error) => { console.error(error); process.exit(1); });
