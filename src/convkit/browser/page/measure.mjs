// How far a backend's outputs are from the reference, and how fast it is.

const WARM_RUNS = 30;
const WARM_BUDGET = 1500; // ms

/** The middle one of the times (ms) of warm runs; the run that made the outputs has warmed it up. */
export async function warmLatency(model, feeds) {
  const times = [];
  const end = performance.now() + WARM_BUDGET;
  do {
    const start = performance.now();
    await model.run(feeds);
    times.push(performance.now() - start);
  } while (times.length < WARM_RUNS && performance.now() < end);
  times.sort((a, b) => a - b);
  return times[times.length >> 1];
}

/**
 * The largest difference as a share of the reference's largest magnitude.
 *
 * @returns {{difference: number, problem: string}} A problem is what no number says: another shape, a NaN in another place.
 */
export function compare(reference, output) {
  if (!output) return failed('the output is missing');
  if (String(reference.shape) !== String(output.shape)) {
    return failed(`shape [${output.shape}], the reference has [${reference.shape}]`);
  }
  if (reference.dtype === 'string') return compareStrings(reference.values, output.values);
  let scale = 0;
  let largest = 0;
  for (let i = 0; i < reference.values.length; i++) {
    const wanted = Number(reference.values[i]);
    const got = Number(output.values[i]);
    if (Number.isFinite(wanted) && Number.isFinite(got)) {
      scale = Math.max(scale, Math.abs(wanted));
      largest = Math.max(largest, Math.abs(wanted - got));
    } else if (!Object.is(wanted, got)) {
      return failed(`${got} at position ${i}, the reference has ${wanted}`);
    }
  }
  return { difference: largest === 0 ? 0 : scale === 0 ? Infinity : largest / scale, problem: '' };
}

function failed(problem) {
  return { difference: Infinity, problem };
}

function compareStrings(wanted, got) {
  const decoder = new TextDecoder();
  const equal = wanted.every((text, i) => decoder.decode(text) === decoder.decode(got[i]));
  return equal ? { difference: 0, problem: '' } : failed('strings differ');
}
