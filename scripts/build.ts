/**
 * `npm run build [renderer|desktop|guests]`: makes what the app runs from, in dist/: the user interface, the bundled
 * programs of the desktop app, the image of the demonstration guest. With `--stale` only what is older than its sources.
 */
import { spawnSync } from 'node:child_process';
import { globSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { buildTour } from '../assets/guests/tour/build.ts';
import { projectRoot } from './project.ts';

interface Target {
  readonly name: string;
  /** Patterns of what it is made from. */
  readonly sources: readonly string[];
  /** The file that is written last. */
  readonly result: string;
  make(): void;
}

const NO_SOURCE = /(^|[\\/])node_modules[\\/]|\.test\.tsx?$/;

/** Files that decide which versions of packages there are. */
const PACKAGES = 'package-lock.json';

function vite(...args: string[]): void {
  const program = join(projectRoot, 'node_modules/vite/bin/vite.js');
  const { status, error } = spawnSync(process.execPath, [program, 'build', '--logLevel', 'warn', ...args], {
    cwd: projectRoot,
    stdio: 'inherit',
  });
  if (error !== undefined || status !== 0) {
    throw new BuildFailed(`vite build ${args.join(' ')} failed`);
  }
}

export class BuildFailed extends Error {
  override readonly name = 'BuildFailed';
}

export const targets: readonly Target[] = [
  {
    name: 'renderer',
    sources: ['renderer/**/*', 'main/contract/*.ts', 'engine/{base,config}/*.ts', PACKAGES],
    result: 'dist/renderer/index.html',
    make: () => vite('--config', 'renderer/vite.config.ts'),
  },
  {
    name: 'guests',
    sources: ['assets/guests/**/*', 'engine/testing/assembler/**/*.ts'],
    result: 'dist/guests/tour.img',
    make() {
      const path = join(projectRoot, 'dist/guests/tour.img');
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(`${path}.${process.pid}`, buildTour());
      renameSync(`${path}.${process.pid}`, path);
    },
  },
  {
    name: 'desktop',
    sources: [
      'main/**/*.ts',
      'engine/**/*.ts',
      'native/*.ts',
      'assets/guests/**/*',
      'renderer/i18n/messages.ts',
      PACKAGES,
    ],
    result: 'dist/desktop/preload.cjs',
    make() {
      rmSync(join(projectRoot, 'dist/desktop'), { recursive: true, force: true });
      vite('--config', 'main/desktop/vite.config.ts', '--mode', 'main');
      vite('--config', 'main/desktop/vite.config.ts', '--mode', 'preload');
    },
  },
];

/** Whether something that `target` is made from is newer than it. */
export function isStale({ sources, result }: Pick<Target, 'sources' | 'result'>, root: string = projectRoot): boolean {
  const made = statSync(join(root, result), { throwIfNoEntry: false })?.mtimeMs;
  return (
    made === undefined ||
    globSync([...sources], { cwd: root })
      .filter((path) => !NO_SOURCE.test(path))
      .map((path) => statSync(join(root, path), { throwIfNoEntry: false }))
      .some((stats) => stats?.isFile() === true && stats.mtimeMs > made)
  );
}

/** Makes the named targets where they are stale, and says which. @throws BuildFailed */
export function buildStale(names: readonly string[]): void {
  for (const target of targets) {
    if (names.includes(target.name) && isStale(target)) {
      console.log(`Building ${target.name}…`);
      target.make();
    }
  }
}

function main(args: readonly string[]): void {
  const names = args.filter((argument) => argument !== '--stale');
  const unknown = names.filter((name) => !targets.some((target) => target.name === name));
  if (unknown.length > 0) {
    throw new BuildFailed(`${unknown.join(', ')}: nothing of that name is built; give renderer, desktop or guests`);
  }
  const wanted = names.length === 0 ? targets.map(({ name }) => name) : names;
  if (args.includes('--stale')) {
    buildStale(wanted);
    return;
  }
  for (const target of targets.filter(({ name }) => wanted.includes(name))) {
    console.log(`Building ${target.name}…`);
    target.make();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof BuildFailed)) {
      throw error;
    }
    console.error(error.message);
    process.exitCode = 1;
  }
}
