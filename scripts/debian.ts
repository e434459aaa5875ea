/**
 * Files out of Debian packages, without changing the system: packages are fetched by name with apt, using package lists
 * of our own, and unpacked below `.cache/debian`. Works without root, before any `apt-get update`, and for another
 * architecture than the host's. Whatever is there already is used without touching the network.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { cacheFolder } from './project.ts';

/** Something a test or a script needs and this machine cannot provide; `message` is one line that says what to do. */
export class NotAvailable extends Error {
  override readonly name = 'NotAvailable';
}

const LISTS_FRESH_MS = 7 * 24 * 3600 * 1000;
const NETWORK_RETRY_MS = 5 * 60 * 1000;

/** The first file called `command` on the PATH, or in the folders for administrators, which users often lack there. */
export function findCommand(command: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, command)).find((path) => existsSync(path));
}

let host: string | undefined;
/** The host's architecture as Debian names it. */
function hostArchitecture(): string {
  host ??= spawnSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).stdout?.trim() || 'amd64';
  return host;
}

function ageMs(path: string): number {
  return existsSync(path) ? Date.now() - statSync(path).mtimeMs : Number.POSITIVE_INFINITY;
}

/** Beside the release itself: newer packages built for it. */
export type Suite = 'backports';

function inSuite(architecture: string, suite: Suite | undefined): string {
  return suite === undefined ? architecture : `${architecture}-${suite}`;
}

interface Apt {
  readonly folder: string;
  readonly config: string;
}

/** A configuration that keeps every list and download of apt in our own folder, and runs none of the system's hooks. */
function aptFor(architecture: string, suite?: Suite): Apt {
  if (findCommand('apt-get') === undefined || findCommand('dpkg-deb') === undefined) {
    throw new NotAvailable("Debian's apt-get and dpkg-deb are not on this machine");
  }
  const folder = join(cacheFolder, 'apt', inSuite(architecture, suite));
  mkdirSync(join(folder, 'lists/partial'), { recursive: true });
  mkdirSync(join(folder, 'archives/partial'), { recursive: true });
  const config = join(folder, 'apt.conf');
  if (!existsSync(join(folder, 'status'))) {
    writeFileSync(join(folder, 'status'), '');
  }
  const status = architecture === hostArchitecture() ? '/var/lib/dpkg/status' : join(folder, 'status');
  const lines = [
    '#clear APT::Update::Pre-Invoke;',
    '#clear APT::Update::Post-Invoke;',
    '#clear APT::Update::Post-Invoke-Success;',
    '#clear DPkg::Post-Invoke;',
    '#clear APT::Architectures;',
    `APT::Architecture "${architecture}";`,
    `APT::Architectures { "${architecture}"; };`,
    'APT::Sandbox::User "";',
    'Acquire::Retries "1";',
    'Acquire::http::Timeout "15";',
    'Acquire::https::Timeout "15";',
    'Acquire::Languages "none";',
    'Debug::NoLocking "true";',
    `Dir::State "${folder}";`,
    `Dir::State::lists "${folder}/lists";`,
    `Dir::State::status "${status}";`,
    `Dir::Cache "${folder}";`,
    `Dir::Cache::archives "${folder}/archives";`,
  ];
  if (suite !== undefined) {
    const { uri, suite: release } = debianMirror() ?? {};
    if (uri === undefined || release === undefined) {
      throw new NotAvailable('this machine knows no mirror of Debian');
    }
    const keys = '/usr/share/keyrings/debian-archive-keyring.gpg';
    writeFileSync(join(folder, 'sources.list'), `deb [signed-by=${keys}] ${uri} ${release}-${suite} main\n`);
    lines.push(`Dir::Etc::sourcelist "${folder}/sources.list";`, 'Dir::Etc::sourceparts "-";');
  }
  writeFileSync(config, `${lines.join('\n')}\n`);
  return { folder, config };
}

function runApt(apt: Apt, command: string, args: readonly string[], cwd?: string) {
  const result = spawnSync(command, ['-c', apt.config, ...args], {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 1 << 28,
    ...(cwd === undefined ? {} : { cwd }),
  });
  return { ok: result.status === 0, out: result.stdout ?? '', errors: result.stderr ?? '' };
}

/** Refreshes our package lists; with `force` even when they are recent. Says whether it tried and lists are there. */
function updateLists(apt: Apt, force: boolean): boolean {
  const stamp = join(apt.folder, 'updated');
  const failed = join(apt.folder, 'unreachable');
  if (!force && ageMs(stamp) < LISTS_FRESH_MS) {
    return true;
  }
  if (ageMs(failed) < NETWORK_RETRY_MS) {
    return false;
  }
  console.log("Reading Debian's package lists …");
  const { out, errors } = runApt(apt, 'apt-get', ['update', '-q']);
  const lists = readdirSync(join(apt.folder, 'lists')).some((name) => name.includes('_Packages'));
  // apt-get update ends with 0 even when nothing could be reached, and with 100 for one broken source among good ones.
  const reached = lists && /^(Get|Hit):/m.test(out);
  if (!reached) {
    writeFileSync(failed, errors);
    return false;
  }
  rmSync(failed, { force: true });
  writeFileSync(stamp, '');
  return true;
}

function lastError(errors: string): string {
  return (
    errors
      .trim()
      .split('\n')
      .reverse()
      .find((line) => line.startsWith('E:'))
      ?.slice(3) ?? 'no network?'
  );
}

/**
 * The folder into which the Debian package `name` was unpacked, fetching it when it is not there yet.
 * @throws NotAvailable
 */
export function debianPackage(name: string, architecture = 'amd64', suite?: Suite): string {
  const folder = join(cacheFolder, 'debian', inSuite(architecture, suite), name);
  if (existsSync(join(folder, '.complete'))) {
    return folder;
  }
  const apt = aptFor(architecture, suite);
  const work = `${folder}.${process.pid}`;
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, 'deb'), { recursive: true });
  try {
    let result = { ok: false, errors: '' };
    for (const force of [false, true]) {
      if (!updateLists(apt, force)) {
        result.errors ||= 'E: no mirror of Debian can be reached';
        break;
      }
      console.log(`Fetching the Debian package ${name} (${architecture}) …`);
      result = runApt(apt, 'apt-get', ['download', '-q', name], join(work, 'deb'));
      if (result.ok) {
        break;
      }
    }
    const file = readdirSync(join(work, 'deb')).find((entry) => entry.endsWith('.deb'));
    if (!result.ok || file === undefined) {
      throw new NotAvailable(
        `the Debian package ${name} (${architecture}) could not be fetched: ${lastError(result.errors)}`,
      );
    }
    const unpack = spawnSync('dpkg-deb', ['-x', join(work, 'deb', file), work], { encoding: 'utf8' });
    if (unpack.status !== 0) {
      throw new NotAvailable(`the Debian package ${name} could not be unpacked: ${unpack.stderr.trim()}`);
    }
    rmSync(join(work, 'deb'), { recursive: true });
    writeFileSync(join(work, '.complete'), `${file}\n`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(work, folder);
    return folder;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * The package that a metapackage stands for at present: `linux-image-amd64` → `linux-image-6.1.0-NN-amd64`.
 * @throws NotAvailable
 */
export function debianDependency(name: string, pattern: RegExp, architecture = 'amd64', suite?: Suite): string {
  const memo = join(cacheFolder, 'debian', inSuite(architecture, suite), `${name}.depends`);
  if (existsSync(memo)) {
    return readFileSync(memo, 'utf8').trim();
  }
  const apt = aptFor(architecture, suite);
  updateLists(apt, false);
  // The newest version comes first in the output of apt-cache show.
  const { out } = runApt(apt, 'apt-cache', ['show', '--no-all-versions', name]);
  const names = out.match(/^Depends: (.*)$/m)?.[1]?.split(/[,|]/) ?? [];
  const found = names.map((entry) => entry.trim().split(' ')[0] ?? '').find((entry) => pattern.test(entry));
  if (found === undefined) {
    throw new NotAvailable(`Debian's package lists have no ${name} (${architecture}); is there network?`);
  }
  mkdirSync(dirname(memo), { recursive: true });
  writeFileSync(memo, found);
  return found;
}

/** A program to run, with the environment it wants. */
export interface Tool {
  readonly command: string;
  readonly env: NodeJS.ProcessEnv;
  /** Folders of its unpacked packages; none when it is installed on this machine. */
  readonly folders: readonly string[];
}

/**
 * A command of this machine or, unpacked with all it depends on, of the named Debian packages.
 * @throws NotAvailable
 */
export function debianTool(command: string, packages: readonly string[]): Tool {
  const installed = findCommand(command);
  if (installed !== undefined) {
    return { command: installed, env: process.env, folders: [] };
  }
  const architecture = hostArchitecture();
  const memo = join(cacheFolder, 'debian', architecture, `${packages.join('+')}.needs`);
  if (!existsSync(memo)) {
    const apt = aptFor(architecture);
    updateLists(apt, false);
    const { ok, out, errors } = runApt(apt, 'apt-get', ['install', '-s', '--no-install-recommends', ...packages]);
    if (!ok) {
      throw new NotAvailable(`${command} is missing (${lastError(errors)}); install ${packages.join(' ')}`);
    }
    mkdirSync(join(cacheFolder, 'debian', architecture), { recursive: true });
    writeFileSync(memo, [...out.matchAll(/^Inst (\S+)/gm)].map((match) => match[1]).join('\n'));
  }
  const needs = [...new Set([...packages, ...readFileSync(memo, 'utf8').split('\n').filter(Boolean)])];
  const folders = needs.map((name) => debianPackage(name, architecture));
  const inEach = (...paths: string[]): string[] =>
    folders.flatMap((folder) => paths.map((path) => join(folder, path)).filter((path) => existsSync(path)));
  const triplet = architecture === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const programs = inEach('usr/bin', 'usr/sbin', 'bin', 'sbin');
  const found = programs.map((folder) => join(folder, command)).find((path) => existsSync(path));
  if (found === undefined) {
    throw new NotAvailable(`${command} is in none of the Debian packages ${packages.join(' ')}`);
  }
  return {
    command: found,
    env: {
      ...process.env,
      PATH: [process.env['PATH'] ?? '', ...programs].join(delimiter),
      LD_LIBRARY_PATH: inEach(`usr/lib/${triplet}`, `lib/${triplet}`).join(delimiter),
    },
    folders,
  };
}

/** The mirror and suite from which this machine takes Debian, for debootstrap; undefined where there is none. */
export function debianMirror(): { uri: string; suite: string } | undefined {
  const apt = aptFor(hostArchitecture());
  updateLists(apt, false);
  const { out } = runApt(apt, 'apt-get', [
    'indextargets',
    '--format',
    '$(REPO_URI) $(CODENAME) $(ORIGIN)',
    'Created-By: Packages',
  ]);
  const [uri, suite] =
    out
      .split('\n')
      .find((line) => / (bookworm|trixie) Debian$/.test(line))
      ?.split(' ') ?? [];
  return uri === undefined || suite === undefined ? undefined : { uri, suite };
}
