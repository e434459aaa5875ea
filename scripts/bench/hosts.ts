/** The virtual machines that are compared: Lodge, QEMU's TCG and v86, each started as its user would start it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { debianPackage, findCommand, NotAvailable } from '../debian.ts';
import { cacheFolder, projectRoot } from '../project.ts';
import { TimedProcess } from './timed-process.ts';

export type HostName = 'lodge' | 'tcg' | 'v86';

export interface Boot {
  readonly kernel: string;
  readonly initrd?: string;
  readonly append?: string;
  /** Megabytes. */
  readonly memory: number;
}

export interface Host {
  readonly name: HostName;
  readonly title: string;
  /** Program and version, for the report. */
  readonly version: string;
  /** What it was given besides kernel and initramfs, for the report. */
  readonly options: string;
  start(boot: Boot): TimedProcess;
}

function options(boot: Boot, prefix: '-' | '--'): string[] {
  const given = (name: string, value: string | undefined) => (value === undefined ? [] : [`${prefix}${name}`, value]);
  return [...given('kernel', boot.kernel), ...given('initrd', boot.initrd), ...given('append', boot.append)];
}

/**
 * `lodge run` on the software processor.
 * @param more further options of `lodge run`
 * @param checkout folder of the Lodge to measure
 */
export function lodge(more: readonly string[], checkout = projectRoot): Host {
  const fixed = [
    'run',
    '--headless',
    '--accel',
    'software',
    '--serial',
    'stdio',
    '--cpus',
    '1',
    '--no-reboot',
    ...more,
  ];
  const { stdout } = spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: checkout, encoding: 'utf8' });
  return {
    name: 'lodge',
    title: 'Lodge',
    version: `Lodge ${stdout?.trim() || '(no commit)'}, Node ${process.versions.node}`,
    options: fixed.slice(1).join(' '),
    start: (boot) =>
      new TimedProcess(process.execPath, [
        join(checkout, 'bin/lodge.js'),
        ...fixed,
        ...['--memory', String(boot.memory)],
        ...options(boot, '--'),
      ]),
  };
}

/**
 * What QEMU's most capable processor has and Lodge's may lack. Guests choose their code by these: what Lodge does not
 * announce is taken away, so that both run the same.
 */
const RIVAL_FEATURES = [
  ...['avx', 'avx2', 'fma', 'f16c', 'bmi1', 'bmi2', 'adx', 'rdseed', 'pku', 'la57', 'xsavec', 'xsaves', 'xgetbv1'],
  ...['abm', 'sse4a', '3dnow', '3dnowext', 'mmxext', 'svm', 'clwb', 'clflushopt', 'rdpid', 'mpx', 'vaes'],
  ...['sha-ni', 'gfni', 'vpclmulqdq', 'fsrm', 'pdpe1gb'],
];

/** The features that the Lodge in a folder announces, by their names in Linux. */
async function announcedBy(checkout: string): Promise<ReadonlySet<string>> {
  const module = pathToFileURL(join(checkout, 'engine/cpu/x86/system/cpuid.ts')).href;
  const { CPU_FEATURES } = (await import(module)) as typeof import('../../engine/cpu/x86/system/cpuid.ts');
  return new Set(CPU_FEATURES.filter(({ passedOn }) => passedOn !== true).map(({ name }) => name));
}

/**
 * QEMU's TCG with a processor like that of the Lodge in `checkout`, which may be older than this one.
 * @param more further options of QEMU
 * @throws NotAvailable
 */
export async function tcg(checkout = projectRoot, more: readonly string[] = []): Promise<Host> {
  const command = findCommand('qemu-system-x86_64');
  if (command === undefined) {
    throw new NotAvailable('qemu-system-x86_64 is not installed; install the Debian package qemu-system-x86');
  }
  const announced = await announcedBy(checkout);
  const without = RIVAL_FEATURES.filter((name) => !announced.has(name)).map((name) => `-${name}`);
  const fixed = [
    ...['-machine', 'pc', '-cpu', ['max', ...without].join(','), '-smp', '1', '-accel', 'tcg,thread=single'],
    ...['-display', 'none', '-vga', 'std', '-nic', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot'],
    ...more,
  ];
  const { stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
  return {
    name: 'tcg',
    title: 'TCG',
    version: stdout.split('\n')[0]?.replace(' emulator version', '') ?? '',
    options: fixed.join(' '),
    start: (boot) => new TimedProcess(command, [...fixed, '-m', String(boot.memory), ...options(boot, '-')]),
  };
}

/** v86 from npm, which is installed into the cache for the benchmark alone. @throws NotAvailable */
export function v86(): Host {
  const folder = join(cacheFolder, 'bench/v86');
  const found = join(folder, 'node_modules/v86');
  if (!existsSync(join(found, 'package.json'))) {
    console.log('Installing v86 for the benchmark …');
    mkdirSync(folder, { recursive: true });
    // A package of its own, so that npm does not take ours for it.
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    const npm = spawnSync('npm', ['install', '--no-audit', '--no-fund', 'v86'], { cwd: folder, encoding: 'utf8' });
    if (npm.status !== 0) {
      const said = npm.error?.message ?? npm.stderr.trim().split('\n').at(-1);
      throw new NotAvailable(`npm could not install v86: ${said}`);
    }
  }
  const { version } = JSON.parse(readFileSync(join(found, 'package.json'), 'utf8')) as { version: string };
  const bios = join(debianPackage('seabios'), 'usr/share/seabios');
  const script = join(projectRoot, 'scripts/bench/v86-run.ts');
  return {
    name: 'v86',
    title: 'v86',
    version: `v86 ${version}`,
    options: 'ACPI on, SeaBIOS from Debian',
    start: (boot) => {
      const run = { ...boot, library: join(found, 'build'), bios };
      return new TimedProcess(process.execPath, [script, JSON.stringify(run)]);
    },
  };
}
