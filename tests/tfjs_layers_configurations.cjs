// Gives models of configurations weights, with TF.js, and saves each under its configuration as it was given:
// node tfjs_layers_configurations.cjs CONFIGURATIONS.json DIRECTORY
const fs = require('fs');
const path = require('path');
require('@tensorflow/tfjs-backend-cpu');
const tf = {...require('@tensorflow/tfjs-core'), ...require('@tensorflow/tfjs-layers')};

// The default initialiser of recurrent layers calls operations as methods, which the core alone does not have.
const {prototype} = tf.Tensor;
for (const name of ['reshape', 'sign', 'stridedSlice', 'transpose']) {
  prototype[name] = function(...args) { return tf[name](this, ...args); };
}
prototype.flatten = function() { return tf.reshape(this, [this.size]); };

async function main() {
  await tf.setBackend('cpu');
  const [source, directory] = process.argv.slice(2);
  for (const [name, config] of Object.entries(JSON.parse(fs.readFileSync(source)))) {
    const modelTopology = {keras_version: '2.1.6', backend: 'tensorflow', model_config: config};
    const model = await tf.loadLayersModel({load: async () => ({modelTopology})});
    // No weight is its initial one: a gamma of ones would hide that it is another's.
    model.setWeights(model.getWeights().map((w, i) => tf.randomUniform(w.shape, w.rank > 1 ? -0.6 : 0.1, 0.9, 'float32', i + 1)));
    const folder = path.join(directory, name);
    fs.mkdirSync(folder, {recursive: true});
    await model.save(tf.io.withSaveHandler(async ({weightSpecs, weightData}) => {
      const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
      fs.writeFileSync(path.join(folder, 'model.json'), JSON.stringify({format: 'layers-model', modelTopology, weightsManifest}));
      fs.writeFileSync(path.join(folder, 'weights.bin'), Buffer.from(tf.io.CompositeArrayBuffer.join(weightData)));
      return {modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON'}};
    }));
  }
}

main().catch((error) => { console.error(error); process.exit(1); });
