// Builds the addon that gives Lodge KVM: run by `npm install`, so it is plain JavaScript, downloads nothing, and never
// fails. Where it cannot be built (another system, no compiler) it says so in a line, and Lodge runs without KVM.
//
//     node native/build.js                what `npm install` runs: builds where that can work
//     node native/build.js --sanitize     the build with AddressSanitizer and UndefinedBehaviorSanitizer, for tests
//     node native/build.js --strict       ends with 1 when it could not be built
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const sanitize = process.argv.includes('--sanitize');
const strict = process.argv.includes('--strict');

/** Ends the build; `why` is undefined when all is well. */
function end(why) {
  if (why !== undefined) {
    console.log(`Lodge is installed without its KVM addon: ${why}`);
    process.exitCode = strict ? 1 : 0;
  }
}

/** The compiler to use, or undefined. */
function compiler() {
  return [process.env.CXX, 'g++', 'clang++', 'c++']
    .filter((name) => name !== undefined && name !== '')
    .find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
}

/** Folders of headers: N-API's C headers and the C++ wrapper around them, both from npm packages. */
function headers() {
  const require = createRequire(import.meta.url);
  return ['node-api-headers/include/node_api.h', 'node-addon-api/napi.h'].map((file) => {
    const [name] = file.split('/');
    return join(dirname(require.resolve(`${name}/package.json`)), file.slice(name.length + 1), '..');
  });
}

/** The line of a compiler's output that says most. */
function whyNot({ stderr, error }) {
  const lines = (stderr ?? '').split('\n');
  // collect2 only says that the linker failed, which has said why before.
  const line =
    lines.find((text) => /(?:^|: )(?:fatal )?error: /.test(text) && !text.startsWith('collect2')) ??
    lines.find((text) => /\bld(?:\.\w+)?: /.test(text));
  return line !== undefined && /\bKVM_|\bkvm_/.test(line)
    ? `the headers of the Linux kernel are older than 5.10 (${line})`
    : (line ?? error?.message);
}

function build() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `it is for Linux on x64, and this is ${process.platform} on ${process.arch}`;
  }
  const target = join(here, 'build', sanitize ? 'lodge-kvm-sanitized.node' : 'lodge-kvm.node');
  const sources = readdirSync(join(here, 'src')).map((name) => join(here, 'src', name));
  const newest = Math.max(...[...sources, fileURLToPath(import.meta.url)].map((path) => statSync(path).mtimeMs));
  if (existsSync(target) && statSync(target).mtimeMs > newest) {
    return undefined;
  }
  const cxx = compiler();
  if (cxx === undefined) {
    return 'there is no C++ compiler (install g++ and run npm ci again to get it)';
  }
  let include;
  try {
    include = headers();
  } catch (error) {
    return `its headers are missing (${error.code ?? error.message})`;
  }
  if (!existsSync('/usr/include/linux/kvm.h')) {
    return 'the headers of the Linux kernel are missing (install linux-libc-dev and run npm ci again to get it)';
  }
  mkdirSync(dirname(target), { recursive: true });
  const temporary = `${target}.${process.pid}`;
  const flags = [
    '-std=c++17',
    '-fPIC',
    '-shared',
    '-fvisibility=hidden',
    '-Wall',
    '-Wextra',
    '-Werror=return-type',
    '-pthread',
    '-DNAPI_VERSION=8',
    '-DNODE_ADDON_API_CPP_EXCEPTIONS',
    '-D_GNU_SOURCE',
    ...include.flatMap((folder) => ['-isystem', folder]),
    ...(sanitize
      ? ['-g', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined', '-fno-omit-frame-pointer']
      : ['-O2', '-g1']),
  ];
  const result = spawnSync(cxx, [...flags, '-o', temporary, ...sources.filter((path) => path.endsWith('.cc'))], {
    encoding: 'utf8',
  });
  if (result.status !== 0) {
    rmSync(temporary, { force: true });
    return `it does not compile here: ${whyNot(result) ?? `${cxx} ended with ${result.status}`}`;
  }
  if (strict && result.stderr !== '') {
    console.log(result.stderr);
  }
  renameSync(temporary, target);
  return undefined;
}

try {
  end(build());
} catch (error) {
  // A folder that cannot be written, for example.
  end(error instanceof Error ? error.message : String(error));
}
