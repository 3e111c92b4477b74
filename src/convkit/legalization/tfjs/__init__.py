"""TensorFlow graphs for TF.js: what its executor and kernels take, and how a graph becomes one that they do."""
