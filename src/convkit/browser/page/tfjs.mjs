// TF.js in a page: its scripts have made the global `tf`, this makes it ready.

/** The global TF.js, with its WebAssembly found on this server. */
export function readyTfjs() {
  const tf = globalThis.tf;
  tf.wasm.setWasmPaths(new URL('../packages/tfjs-wasm/', import.meta.url).href);
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false); // the same sums on every machine
  return tf;
}

/** Fetches an address of this server; throws what the server says. */
export async function fetched(address) {
  const response = await fetch(new URL(`../${address}`, import.meta.url));
  if (!response.ok) throw new Error(`${address}: ${response.status}`);
  return response;
}

/** What files of this server hold, one after the other, as one ArrayBuffer. */
export async function contentsOf(addresses) {
  const buffers = await Promise.all(addresses.map(async (address) => (await fetched(address)).arrayBuffer()));
  return buffers.length === 1 ? buffers[0] : new Blob(buffers).arrayBuffer();
}

/** The name of the adapter that WebGPU computes on here, "" where there is no WebGPU. */
export async function gpuAdapter() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return '';
  const { vendor, architecture, description } = adapter.info ?? {};
  return [vendor, architecture, description].filter(Boolean).join(' ') || 'an adapter without a name';
}

/** The name of the graphics driver that WebGL uses here, "" where there is no WebGL. */
export function graphicsDriver() {
  const context = document.createElement('canvas').getContext('webgl2');
  if (!context) return '';
  const info = context.getExtension('WEBGL_debug_renderer_info');
  return context.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : context.RENDERER);
}
