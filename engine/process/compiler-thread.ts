import { setFlagsFromString } from 'node:v8';
import { type MessagePort, workerData } from 'node:worker_threads';
import { UOP_CACHE_END } from '../cpu/software/arena-layout.ts';
import { interpreterFor } from '../cpu/software/interpreter-for.ts';
import { type CompileAnswer, type CompileRequest, fromRequest } from '../cpu/software/jit/compile-request.ts';
import { RegionReader } from '../cpu/software/jit/region.ts';
import { MicroOpReader, RegionModules } from '../cpu/software/jit/region-module.ts';
import { lowerOwnPriority } from './thread-priority.ts';

/** What a compiler thread is started with. */
export interface CompilerThreadInput {
  readonly port: MessagePort;
  /** Pages of 64 KiB of the arena. */
  readonly pages: number;
  /** Number of answers so far. */
  readonly answers: Int32Array<SharedArrayBuffer>;
}

/** The compiler thread: builds and compiles the regions that the machine thread asks for, one after the other. */
function main({ port, pages, answers }: CompilerThreadInput): void {
  lowerOwnPriority();
  const { interpreter } = interpreterFor(pages);
  // Micro-operations stand where they stand in the arena; untouched parts of it cost nothing.
  const mirror = new Int32Array(UOP_CACHE_END / 4);
  const reader = new MicroOpReader(new DataView(mirror.buffer), interpreter);
  const regions = new RegionReader(reader, interpreter);
  const modules = new RegionModules(reader, interpreter, pages);
  // Else V8 would put off compiling to the first call, in the machine thread. The interpreter has been compiled by now.
  setFlagsFromString('--no-wasm-lazy-compilation');
  // Keeps the code for TLB misses and the like out of the way of the rest.
  setFlagsFromString('--experimental-wasm-branch-hinting');
  port.on('message', (request: CompileRequest) => {
    const { id } = request;
    let answer: CompileAnswer;
    try {
      const bytes = modules.build(regions.read(fromRequest(request, mirror)));
      answer = { id, module: new WebAssembly.Module(bytes), bytes: bytes.length };
    } catch (error) {
      answer = { id, failure: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    port.postMessage(answer);
    Atomics.add(answers, 0, 1);
  });
}

main(workerData as CompilerThreadInput);
