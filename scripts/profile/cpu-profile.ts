/** Reads the CPU profiles that `node --cpu-prof` writes (V8's .cpuprofile format, one file a thread) and sums them up. */

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
  /** From 0. */
  readonly lineNumber: number;
}

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: CallFrame;
    readonly children?: readonly number[];
  }[];
  /** Microseconds of the clock that process.hrtime() reads. */
  readonly startTime: number;
  readonly endTime: number;
  /** The node on top of the stack at each sample, and the microseconds since the sample before. */
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Where time went, by a name. Seconds. */
export interface Share {
  readonly name: string;
  readonly self: number;
  /** With everything called from there. */
  readonly total: number;
}

export interface ProfileSummary {
  readonly seconds: number;
  readonly areas: readonly Share[];
  readonly functions: readonly Share[];
}

const LOOP = 'interpreter: its loop';
const HANDLERS = 'interpreter: functions of its own';
const COMPILED = 'compiled guest code';
const HOST = 'Node and V8';

const WASM_FUNCTION = /^wasm-function\[(\d+)\]$/;

/** The URL of the module that holds the interpreter: the one with a function of the index of its loop. */
export function interpreterUrl(profile: CpuProfile, loop: number): string | undefined {
  const samples = new Map<number, number>();
  for (const id of profile.samples) {
    samples.set(id, (samples.get(id) ?? 0) + 1);
  }
  const loops = profile.nodes.filter(
    ({ callFrame }) => callFrame.url.startsWith('wasm:') && callFrame.functionName === `wasm-function[${loop}]`,
  );
  return loops.sort((a, b) => (samples.get(b.id) ?? 0) - (samples.get(a.id) ?? 0))[0]?.callFrame.url;
}

interface Label {
  readonly name: string;
  readonly area: string;
}

/** What frames are shown as: function, file and line from the project's root for our own code. */
class Labels {
  readonly #root: string;
  readonly #names: ReadonlyMap<number, string>;
  readonly #interpreter: string | undefined;

  constructor(profile: CpuProfile, root: string, names: ReadonlyMap<number, string>) {
    this.#root = root;
    this.#names = names;
    const loop = [...names].find(([, name]) => name === 'loop')?.[0] ?? -1;
    this.#interpreter = interpreterUrl(profile, loop);
  }

  of({ functionName, url, lineNumber }: CallFrame): Label {
    if (url.startsWith(this.#root)) {
      const file = url.slice(this.#root.length + 1);
      return { name: `${functionName || '(anonymous)'} ${file}:${lineNumber + 1}`, area: file };
    }
    if (url === this.#interpreter) {
      const index = Number(WASM_FUNCTION.exec(functionName)?.[1] ?? -1);
      const name = this.#names.get(index) ?? functionName;
      return { name: `${name} (interpreter)`, area: name === 'loop' ? LOOP : HANDLERS };
    }
    if (url.startsWith('wasm:')) {
      return { name: `${functionName} ${url}`, area: COMPILED };
    }
    if (functionName === 'wasm-to-js' || functionName === 'js-to-wasm') {
      return { name: functionName, area: 'calls between WebAssembly and JavaScript' };
    }
    const area = functionName === '(garbage collector)' ? 'garbage collector' : HOST;
    return { name: functionName || '(anonymous)', area };
  }
}

/**
 * Sums up the samples between two moments.
 * @param root file URL of the project's folder
 * @param names of the interpreter's functions by index, `run` being its loop
 * @param from microseconds of the clock that process.hrtime() reads
 */
export function summarize(
  profile: CpuProfile,
  root: string,
  names: ReadonlyMap<number, string>,
  from = 0,
  to = Number.POSITIVE_INFINITY,
): ProfileSummary {
  const labeller = new Labels(profile, root, names);
  const labels = new Map(profile.nodes.map((node) => [node.id, labeller.of(node.callFrame)] as const));
  const parents = new Map(profile.nodes.flatMap(({ id, children }) => (children ?? []).map((child) => [child, id])));
  const areas = new Shares();
  const functions = new Shares();
  let now = profile.startTime;
  let seconds = 0;
  for (const [i, sample] of profile.samples.entries()) {
    // A sample stands for the time until the next one.
    now += profile.timeDeltas[i] ?? 0;
    const duration = (profile.timeDeltas[i + 1] ?? 0) / 1e6;
    if (now < from || now >= to) {
      continue;
    }
    seconds += duration;
    const stack: Label[] = [];
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const label = labels.get(id);
      if (label !== undefined) {
        stack.push(label);
      }
    }
    // What strips types from our sources is WebAssembly too.
    const own = stack.some(({ area }) => area.startsWith('engine/cpu/'));
    areas.add(
      stack.map(({ area }) => (area === COMPILED && !own ? HOST : area)),
      duration,
    );
    functions.add(
      stack.map(({ name }) => name),
      duration,
    );
  }
  return { seconds, areas: areas.sorted(), functions: functions.sorted() };
}

class Shares {
  readonly #shares = new Map<string, { self: number; total: number }>();

  /** `names` is a stack, innermost first. */
  add(names: readonly string[], seconds: number): void {
    for (const [i, name] of [...new Set(names)].entries()) {
      const share = this.#shares.get(name) ?? { self: 0, total: 0 };
      share.self += i === 0 ? seconds : 0;
      share.total += seconds;
      this.#shares.set(name, share);
    }
  }

  sorted(): Share[] {
    return [...this.#shares].map(([name, share]) => ({ name, ...share })).sort((a, b) => b.self - a.self);
  }
}
