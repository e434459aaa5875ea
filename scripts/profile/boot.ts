/**
 * `npm run profile:boot`: boots a Debian kernel with a busybox initramfs as `lodge run` does, samples the machine
 * thread, and prints where the host's time goes until the shell is there.
 */
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { busyboxInitramfs, type KernelName, kernels, linuxKernel, READY } from '../../e2e/guests/linux.ts';
import { TimedProcess } from '../bench/timed-process.ts';
import { NotAvailable } from '../debian.ts';
import { projectRoot } from '../project.ts';
import { type CpuProfile, type ProfileSummary, type Share, summarize } from './cpu-profile.ts';
import { interpreterNames } from './interpreter-names.ts';

const USAGE = `npm run profile:boot -- [options]
  --kernel NAME   cloud (default), generic or i686
  --cpus N        processors of the guest (1)
  --memory MB     memory of the guest (512)
  --phase NAME    decompression, kernel or all (default): the part of the boot to look at
  --top N         so many functions (30)
  --save FILE     keeps the profile of the machine thread, for the profiler of a browser's developer tools
  --from FILE     shows a profile kept before instead of booting (whole, without phases)`;

const SECONDS = 300;
const INTERVAL_MICROS = 500;
const phases = ['decompression', 'kernel', 'all'] as const;

interface Boot {
  readonly profile: CpuProfile;
  /** Moments in microseconds: the process starts, the kernel's first line, the shell is ready. */
  readonly start: number;
  readonly firstLine: number;
  readonly ready: number;
}

/** The machine thread's profile: the one that was with the most functions of the processor. */
function machineProfile(folder: string): { path: string; profile: CpuProfile } {
  const weight = ({ nodes }: CpuProfile): number =>
    nodes.filter(({ callFrame }) => callFrame.url.includes('/engine/cpu/')).length;
  const found = readdirSync(folder)
    .map((name) => join(folder, name))
    .map((path) => ({ path, profile: JSON.parse(readFileSync(path, 'utf8')) as CpuProfile }))
    // The thread that compiles may be as busy as the one that runs the machine.
    .filter(({ profile }) => profile.nodes.some(({ callFrame }) => callFrame.url.endsWith('/machine-thread.ts')))
    .sort((a, b) => weight(b.profile) - weight(a.profile))[0];
  if (found === undefined) {
    throw new Error('Node wrote no profile');
  }
  return found;
}

async function boot(kernel: KernelName, cpus: string, memory: string, save: string | undefined): Promise<Boot> {
  const image = linuxKernel(kernel);
  const initrd = busyboxInitramfs(kernels[kernel].architecture);
  const folder = mkdtempSync(join(tmpdir(), 'lodge-profile-'));
  try {
    const profiler = ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-interval=${INTERVAL_MICROS}`];
    const machine = [
      'run',
      '--headless',
      '--accel',
      'software',
      '--serial',
      'stdio',
      '--cpus',
      cpus,
      '--memory',
      memory,
    ];
    const append = 'console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1';
    const direct = ['--kernel', image, '--initrd', initrd, '--append', append, '--no-reboot'];
    const lodge = join(projectRoot, 'bin/lodge.js');
    const guest = new TimedProcess(process.execPath, [...profiler, lodge, ...machine, ...direct]);
    const ready = await guest.line(new RegExp(READY), SECONDS);
    await guest.prompt(/guest# /, SECONDS);
    guest.send('poweroff -f\n');
    const code = await guest.ended;
    if (code !== 0) {
      throw new Error(`lodge run ended with ${code}: ${guest.errors}`);
    }
    const { path, profile } = machineProfile(folder);
    if (save !== undefined) {
      copyFileSync(path, save);
    }
    const firstLine = guest.lines.find(({ text }) => text.includes('Linux version '))?.at ?? ready.at;
    return { profile, start: guest.started.at * 1000, firstLine: firstLine * 1000, ready: ready.at * 1000 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function printShares(title: string, shares: readonly Share[], all: number): void {
  console.log(`\n   self   share  with calls  ${title}`);
  for (const { name, self, total } of shares) {
    const share = `${((100 * self) / all).toFixed(1)} %`;
    console.log(`${self.toFixed(3).padStart(7)} ${share.padStart(7)} ${total.toFixed(3).padStart(11)}  ${name}`);
  }
}

function print(summary: ProfileSummary, top: number): void {
  const { seconds, areas, functions } = summary;
  printShares(
    'area',
    areas.filter(({ self }) => self >= seconds * 0.001),
    seconds,
  );
  printShares('function', functions.slice(0, top), seconds);
  const callers = functions.filter(({ name }) => name.includes('.ts:')).sort((a, b) => b.total - a.total);
  printShares('function, by the time with its calls', callers.slice(0, top), seconds);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kernel: { type: 'string', default: 'cloud' },
      cpus: { type: 'string', default: '1' },
      memory: { type: 'string', default: '512' },
      phase: { type: 'string', default: 'all' },
      top: { type: 'string', default: '30' },
      save: { type: 'string' },
      from: { type: 'string' },
      help: { type: 'boolean' },
    },
  });
  const kernel = Object.keys(kernels).find((name) => name === values.kernel) as KernelName | undefined;
  const phase = phases.find((name) => name === values.phase);
  if (values.help === true || kernel === undefined || phase === undefined) {
    console.log(USAGE);
    process.exitCode = values.help === true ? 0 : 2;
    return;
  }
  const names = interpreterNames();
  const root = pathToFileURL(projectRoot).href;
  if (values.from !== undefined) {
    const profile = JSON.parse(readFileSync(values.from, 'utf8')) as CpuProfile;
    print(summarize(profile, root, names), Number(values.top));
    return;
  }
  const { profile, start, firstLine, ready } = await boot(kernel, values.cpus, values.memory, values.save);
  const seconds = (from: number, to: number): string => `${((to - from) / 1e6).toFixed(2)} s`;
  console.log(`start of lodge and decompression  ${seconds(start, firstLine)} (until the kernel's first line)`);
  console.log(`kernel                            ${seconds(firstLine, ready)} (until the shell is ready)`);
  console.log(`The profiler itself slows this down a little; below: the machine thread, ${phase}, in seconds.`);
  const from = phase === 'kernel' ? firstLine : start;
  const to = phase === 'decompression' ? firstLine : ready;
  print(summarize(profile, root, names, from, to), Number(values.top));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof NotAvailable)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}
