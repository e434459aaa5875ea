import { UOP_CACHE_END } from '../arena-layout.ts';
import { interpreterFor } from '../interpreter-for.ts';
import { type CompileAnswer, type CompileRequest, type CompilerThread, fromRequest } from '../jit/compile-request.ts';
import { RegionReader } from '../jit/region.ts';
import { MicroOpReader, RegionModules } from '../jit/region-module.ts';

/**
 * Stands in for a compiler in another thread: every answer comes a number of polls after its request, so that the code
 * may have changed by then, but always at the same place of a program.
 */
export class DelayedCompiler implements CompilerThread {
  readonly #delay: number;
  readonly #mirror = new Int32Array(UOP_CACHE_END / 4);
  readonly #regions: RegionReader;
  readonly #modules: RegionModules;
  readonly #waiting: { readonly due: number; readonly request: CompileRequest }[] = [];
  #polls = 0;

  /** `pages` of 64 KiB of the arena; answers come after `delay` polls. */
  constructor(pages: number, delay: number) {
    const { interpreter } = interpreterFor(pages);
    const reader = new MicroOpReader(new DataView(this.#mirror.buffer), interpreter);
    this.#regions = new RegionReader(reader, interpreter);
    this.#modules = new RegionModules(reader, interpreter, pages);
    this.#delay = delay;
  }

  request(request: CompileRequest): void {
    this.#waiting.push({ due: this.#polls + this.#delay, request });
  }

  poll(): CompileAnswer | undefined {
    this.#polls++;
    const [first] = this.#waiting;
    if (first === undefined || first.due > this.#polls) {
      return undefined;
    }
    this.#waiting.shift();
    const bytes = this.#modules.build(this.#regions.read(fromRequest(first.request, this.#mirror)));
    return { id: first.request.id, module: new WebAssembly.Module(bytes), bytes: bytes.length };
  }
}
