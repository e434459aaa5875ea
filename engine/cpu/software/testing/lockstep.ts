import { MODE_SINGLE } from '../../x86/layout.ts';
import { CODE_PHYSICAL } from './guest-layout.ts';
import { GuestMachine, type Tier } from './guest-machine.ts';
import { type Assembled, assembleProgram, type Program } from './program.ts';
import { StateComparison } from './state-comparison.ts';

/** The interpreter as it is. */
export const INTERPRETER: Tier = { name: 'interpreter' };
/** Every instruction in a slice, and so in a block, of its own. */
export const ONE_BY_ONE: Tier = { name: 'interpreter, fuel 1', piece: 1 };
/** Slices of a few instructions, which end in the middle of blocks. */
export const IN_PIECES: Tier = { name: 'interpreter in pieces of 7', piece: 7 };

/** How a program went. */
export interface Outcome {
  /** What differed first; empty when nothing did. */
  readonly differences: readonly string[];
  /** How often the program had run before without a difference. */
  readonly round: number;
  /** Index of the slice at whose end it did. */
  readonly slice: number;
  /** Instructions carried out by the first tier. */
  readonly executed: number;
  /** Why the program stopped before its last slice, if it did. */
  readonly end: 'done' | 'shutdown' | 'slices' | 'differs' | 'threw';
}

/** Two machines that run the same programs and must never differ. */
export class Lockstep {
  readonly a: GuestMachine;
  readonly b: GuestMachine;
  readonly #comparison: StateComparison;
  /** Blocks of program code that the first machine has decoded, those of one instruction for exact stops left out. */
  blocks = 0;

  constructor(a: Tier, b: Tier) {
    this.a = new GuestMachine(a);
    this.b = new GuestMachine(b);
    this.#comparison = new StateComparison(this.a, this.b);
    const { code } = this.a.cpus;
    const add = code.add.bind(code);
    code.add = (physical, mode, ...rest) => {
      if (physical >= CODE_PHYSICAL && (mode & MODE_SINGLE) === 0) {
        this.blocks++;
      }
      return add(physical, mode, ...rest);
    };
  }

  /** Forgets all code, as if the machines were new. */
  reset(): void {
    this.a.cpus.code.flush();
    this.b.cpus.code.flush();
  }

  /** Runs a program on both, as often as asked. Undefined when it does not fit into its memory. */
  run(program: Program, rounds = 1): Outcome | undefined {
    const assembled = assembleProgram(program);
    if (assembled === undefined) {
      return undefined;
    }
    let outcome = this.#runOnce(program, assembled);
    for (let round = 1; round < rounds && outcome.differences.length === 0; round++) {
      const { executed } = outcome;
      outcome = { ...this.#runOnce(program, assembled), round };
      outcome = { ...outcome, executed: outcome.executed + executed };
    }
    return outcome;
  }

  #runOnce(program: Program, assembled: Assembled): Outcome {
    const { a, b } = this;
    a.load(program, assembled);
    b.load(program, assembled);
    this.#comparison.start();
    let target = 0;
    let end: Outcome['end'] = 'slices';
    let index = 0;
    let same = true;
    for (const slice of program.slices) {
      for (const event of slice.events) {
        a.apply(event);
        b.apply(event);
      }
      target = Math.max(target, a.executed) + slice.instructions;
      let ran: boolean;
      try {
        ran = a.runTo(target);
        b.runTo(target);
      } catch (error) {
        const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
        return { differences: text.split('\n'), round: 0, slice: index, executed: 0, end: 'threw' };
      }
      same = this.#comparison.same;
      if (!same) {
        end = 'differs';
        break;
      }
      if (!ran) {
        if (a.done) {
          end = 'done';
          break;
        }
        if (a.cpu.isShutDown) {
          end = 'shutdown';
          break;
        }
      }
      index++;
    }
    const differences = same ? [] : this.#comparison.differences();
    return { differences, round: 0, slice: index, executed: a.executed, end };
  }
}
