// Named tensors as bytes, for a pipe to Node and for requests of a page; `wire.py` is the other side.
//
// A message is a header length (uint32, little endian), a payload length (uint64), the header (JSON) and the payload. The
// header's "tensors" lists name, dtype, shape and bytes of each tensor, whose values follow each other in the payload:
// numbers as they lie in memory, booleans as bytes, complex numbers as pairs, strings as a uint32 length and UTF-8 each.

export const PREFIX_BYTES = 12;

const ARRAYS = {
  float16: globalThis.Float16Array ?? Uint16Array,
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
  complex64: Float32Array,
};

/** Lengths of header and payload in bytes, from a message's first PREFIX_BYTES. */
export function readPrefix(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, PREFIX_BYTES);
  return { header: view.getUint32(0, true), payload: Number(view.getBigUint64(4, true)) };
}

/** The tensors of a header: {name, dtype, shape, values} with values as a typed array, or as Uint8Arrays for strings. */
export function unpackTensors(entries, payload) {
  let offset = 0;
  return entries.map(({ name, dtype, shape, bytes }) => {
    const part = payload.subarray(offset, offset + bytes);
    offset += bytes;
    return { name, dtype, shape, values: dtype === 'string' ? unpackStrings(part) : unpackNumbers(part, dtype) };
  });
}

function unpackNumbers(part, dtype) {
  const kind = ARRAYS[dtype];
  if (!kind) throw new Error(`no tensor of ${dtype} can be sent`);
  // Copied, because a typed array must start at a multiple of its element's size.
  return new kind(part.slice().buffer);
}

function unpackStrings(part) {
  const view = new DataView(part.buffer, part.byteOffset, part.byteLength);
  const strings = [];
  for (let at = 0; at < part.byteLength;) {
    const length = view.getUint32(at, true);
    strings.push(part.slice(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return strings;
}

/** The parts of a message, in order: Uint8Arrays. */
export function packMessage(header, tensors) {
  const parts = tensors.map(packValues);
  const entries = tensors.map(({ name, dtype, shape }, i) => ({ name, dtype, shape, bytes: parts[i].byteLength }));
  const text = new TextEncoder().encode(JSON.stringify({ ...header, tensors: entries }));
  const prefix = new DataView(new ArrayBuffer(PREFIX_BYTES));
  prefix.setUint32(0, text.byteLength, true);
  prefix.setBigUint64(4, BigInt(parts.reduce((sum, part) => sum + part.byteLength, 0)), true);
  return [new Uint8Array(prefix.buffer), text, ...parts];
}

function packValues({ dtype, values }) {
  if (dtype === 'string') return packStrings(values);
  // A backend may hold booleans and integers in arrays of another kind.
  const array = values instanceof ARRAYS[dtype] ? values : ARRAYS[dtype].from(values);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function packStrings(strings) {
  const bytes = new Uint8Array(strings.reduce((sum, s) => sum + 4 + s.byteLength, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const string of strings) {
    view.setUint32(at, string.byteLength, true);
    bytes.set(string, at + 4);
    at += 4 + string.byteLength;
  }
  return bytes;
}

/** The header and the tensors of a whole message (a Uint8Array). */
export function unpackMessage(bytes) {
  const lengths = readPrefix(bytes);
  const end = PREFIX_BYTES + lengths.header;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(PREFIX_BYTES, end)));
  return { header, tensors: unpackTensors(header.tensors, bytes.subarray(end)) };
}
