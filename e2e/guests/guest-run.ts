import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot } from '../../scripts/project.ts';
import { decodePng, type Picture } from './png.ts';
import { QemuRun } from './qemu-run.ts';
import { screenText } from './screen-text.ts';

/** A disk of a guest: the image of a hard disk, on IDE unless said otherwise. */
export interface GuestDisk {
  readonly path: string;
  readonly bus?: 'ide' | 'virtio' | 'scsi';
  readonly serial?: string;
  readonly readOnly?: boolean;
}

/** What the guest gets; each field is the option of `lodge run` of the same name. */
export interface GuestOptions {
  readonly accel?: 'kvm' | 'software';
  readonly cpus?: number;
  /** Megabytes. */
  readonly memory?: number;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly disks?: readonly GuestDisk[];
  readonly cdrom?: string;
  readonly floppy?: string;
  readonly machine?: string;
  /** `stdio` unless given. */
  readonly serial?: string;
  readonly console?: string;
  readonly sound?: string;
  /** What stands behind `--net`. */
  readonly net?: string;
  /** What stands behind each `--share`. */
  readonly shares?: readonly string[];
  /** What stands behind `--vsock`. */
  readonly vsock?: string;
  readonly boot?: string;
  readonly bios?: string;
  readonly debugExit?: boolean;
  readonly noReboot?: boolean;
  readonly virtualTime?: boolean;
  /** Seconds of guest time after which the run is ended by force. */
  readonly timeout: number;
  /** Seconds of guest time at which a screenshot is taken. */
  readonly screenshots?: readonly number[];
  /** Text for the keyboard, with keys in braces (`{down}`), by the second of guest time at which it is typed. */
  readonly type?: readonly { readonly text: string; readonly at: number }[];
}

/** The command line of `lodge run` for a guest; screenshots go to `shot(seconds)`. */
export function lodgeArguments(options: GuestOptions, shot: (seconds: number) => string): string[] {
  const given = (name: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [name, String(value)];
  const flag = (name: string, on: boolean | undefined): string[] => (on === true ? [name] : []);
  return [
    'run',
    '--headless',
    ...given('--machine', options.machine),
    ...given('--serial', options.serial ?? 'stdio'),
    ...given('--console', options.console),
    ...given('--sound', options.sound),
    ...given('--accel', options.accel),
    ...given('--cpus', options.cpus),
    ...given('--memory', options.memory),
    ...given('--kernel', options.kernel),
    ...given('--initrd', options.initrd),
    ...given('--append', options.append),
    ...(options.disks ?? []).flatMap((disk) => ['--disk', diskArgument(disk)]),
    ...given('--cdrom', options.cdrom),
    ...given('--floppy', options.floppy),
    ...given('--net', options.net),
    ...(options.shares ?? []).flatMap((share) => ['--share', share]),
    ...given('--vsock', options.vsock),
    ...given('--boot', options.boot),
    ...given('--bios', options.bios),
    ...flag('--debug-exit', options.debugExit),
    ...flag('--no-reboot', options.noReboot),
    ...flag('--virtual-time', options.virtualTime),
    ...given('--timeout', options.timeout),
    ...(options.screenshots ?? []).flatMap((seconds) => ['--screenshot', `${shot(seconds)}@${seconds}`]),
    ...(options.type ?? []).flatMap(({ text, at }) => ['--type', `${text}@${at}`]),
  ];
}

function diskArgument({ path, bus, serial, readOnly }: GuestDisk): string {
  const parts = [bus && `bus=${bus}`, serial && `serial=${serial}`, readOnly === true && 'readonly'];
  return [path, ...parts.filter(Boolean)].join(',');
}

/** The second opinion: LODGE_GUESTS_ON=qemu runs the same tests on QEMU, to tell a wrong test from a wrong machine. */
export const onQemu = process.env['LODGE_GUESTS_ON'] === 'qemu';

/** Guests that run now; none outlives the tests, also not when they are interrupted. */
const running = new Map<ChildProcess, string>();
process.on('exit', () => {
  for (const [child, folder] of running) {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => process.exit(1));
}

/**
 * One guest in a process of its own, with its serial port on a pipe. Every wait ends with an error that shows what the
 * guest last said when its time is over or the guest has ended.
 */
export class GuestRun {
  /** Everything the guest wrote on its first serial port, and everything the process wrote on its standard error. */
  serial = '';
  errors = '';
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #exit: Promise<number>;
  #code: number | undefined;
  /** How far waitFor has read. */
  #read = 0;

  constructor(options: GuestOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), 'lodge-guest-'));
    const shot = (seconds: number): string => this.#shot(seconds);
    this.#child = onQemu
      ? new QemuRun(options, this.#folder, shot).child
      : spawn(process.execPath, [join(projectRoot, 'bin/lodge.js'), ...lodgeArguments(options, shot)]);
    running.set(this.#child, this.#folder);
    this.#child.stdout?.on('data', (bytes: Buffer) => {
      this.serial += bytes.toString('latin1');
    });
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.errors += bytes.toString();
    });
    // A guest that ends while something is being sent is no failure of the test by itself.
    this.#child.stdin?.on('error', () => {});
    this.#exit = new Promise((resolve) => {
      this.#child.on('close', (code) => {
        this.#code = code ?? 128;
        running.delete(this.#child);
        resolve(this.#code);
      });
    });
  }

  /** Starts a guest, gives it to `use`, and ends it by force whatever happens. */
  static async with<T>(options: GuestOptions, use: (guest: GuestRun) => Promise<T>): Promise<T> {
    const guest = new GuestRun(options);
    try {
      return await use(guest);
    } finally {
      guest.#child.kill('SIGKILL');
      await guest.#exit;
      rmSync(guest.#folder, { recursive: true, force: true });
    }
  }

  /** Waits until the guest has said `pattern` on its serial port, after what earlier waits found. */
  async waitFor(pattern: RegExp, seconds: number): Promise<RegExpExecArray> {
    return await this.#until(seconds, `${pattern} on the serial port`, () => {
      const match = pattern.exec(this.serial.slice(this.#read));
      if (match !== null) {
        this.#read += match.index + match[0].length;
      }
      return match ?? undefined;
    });
  }

  /** Types on the serial port. */
  send(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** The screenshot that was asked for at `atSeconds` of guest time. */
  async screenshot(atSeconds: number, seconds: number): Promise<Picture> {
    return await this.#until(seconds, `the screenshot at ${atSeconds} s`, () => this.#picture(atSeconds));
  }

  /** The text of the screen at `atSeconds` of guest time. */
  async screenText(atSeconds: number, seconds: number): Promise<string> {
    return screenText(await this.screenshot(atSeconds, seconds));
  }

  /** Waits for the first of the screenshots asked for that satisfies `fits`. */
  async waitForScreen<T>(
    what: string,
    atSeconds: readonly number[],
    seconds: number,
    fits: (picture: Picture) => T | undefined,
  ): Promise<T> {
    const remaining = [...atSeconds];
    let last: Picture | undefined;
    try {
      return await this.#until(seconds, what, () => {
        for (let picture: Picture | undefined; remaining[0] !== undefined; remaining.shift()) {
          picture = this.#picture(remaining[0]);
          if (picture === undefined) {
            return undefined;
          }
          last = picture;
          const found = fits(picture);
          if (found !== undefined) {
            return found;
          }
        }
        throw new Error(`none of the screenshots shows ${what}`);
      });
    } catch (error) {
      throw last === undefined ? error : new Error(`${String(error)}\nThe last screen:\n${screenText(last)}`);
    }
  }

  /** Waits until a text screen shows `pattern`. */
  async waitForText(pattern: RegExp, atSeconds: readonly number[], seconds: number): Promise<string> {
    return await this.waitForScreen(`${pattern} on the screen`, atSeconds, seconds, (picture) => {
      const text = screenText(picture);
      return pattern.test(text) ? text : undefined;
    });
  }

  /** The exit code, once the guest has ended by itself. */
  async exitCode(seconds: number): Promise<number> {
    return await this.#until(seconds, 'the end of the run', () => this.#code);
  }

  #shot(seconds: number): string {
    return join(this.#folder, `${seconds}.png`);
  }

  #picture(seconds: number): Picture | undefined {
    const path = this.#shot(seconds);
    if (!existsSync(path)) {
      return undefined;
    }
    try {
      return decodePng(readFileSync(path));
    } catch {
      // Not wholly written yet.
      return undefined;
    }
  }

  async #until<T>(seconds: number, what: string, look: () => T | undefined): Promise<T> {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const ended = this.#code !== undefined;
      const found = look();
      if (found !== undefined) {
        return found;
      }
      if (ended) {
        throw new Error(`the run ended with ${this.#code} before ${what}${this.#lastWords()}`);
      }
      if (Date.now() > deadline) {
        throw new Error(`${what}: not within ${seconds} s${this.#lastWords()}`);
      }
      await sleep(50);
    }
  }

  #lastWords(): string {
    return `\nstandard error: ${this.errors.slice(-2000)}\nserial port: ${this.serial.slice(-3000)}`;
  }
}

/** A series of moments: every `step` seconds from `step` to `end`. */
export function everySeconds(step: number, end: number): number[] {
  return Array.from({ length: Math.floor(end / step) }, (_, index) => (index + 1) * step);
}
