import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findFirmware } from '../../engine/firmware/find-firmware.ts';
import { kvmFinding } from '../../engine/process/accelerator.ts';
import { Random } from '../../engine/testing/random.ts';

/** Processes that are killed at any moment leave nothing behind. LODGE_KILLS=n: so many; LODGE_SEED=n: other moments. */
const KILLS = Number(process.env['LODGE_KILLS'] ?? 3);
const SEED = Number(process.env['LODGE_SEED'] ?? 1);
/** Kills come within so many milliseconds: through the start of a process, its machine's thread and the firmware. */
const MOMENTS = 1500;
const WAIT = 60_000;
const LODGE = fileURLToPath(new URL('../../bin/lodge.js', import.meta.url));

const folders: string[] = [];
after(async () => {
  for (const folder of folders) {
    killAll(folder);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
});

function whyNot(): string | false {
  if (process.platform !== 'linux') {
    return 'processes are looked for in /proc';
  }
  try {
    findFirmware();
    return false;
  } catch (error) {
    return `no firmware: ${error instanceof Error ? error.message : error}`;
  }
}

function home(): { folder: string; env: NodeJS.ProcessEnv } {
  const folder = mkdtempSync(join(tmpdir(), 'lodge-killed-'));
  folders.push(folder);
  return { folder, env: { ...process.env, LODGE_HOME: folder } };
}

/** Numbers of the processes that work in a data folder. */
function processesOf(folder: string): number[] {
  return readdirSync('/proc').flatMap((name) => {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) {
      return [];
    }
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0');
      return environment.includes(`LODGE_HOME=${folder}`) ? [pid] : [];
    } catch {
      return [];
    }
  });
}

function killAll(folder: string): void {
  for (const pid of processesOf(folder)) {
    kill(pid);
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {}
}

async function until(condition: () => boolean, what: () => string): Promise<void> {
  const end = performance.now() + WAIT;
  while (!condition()) {
    assert.ok(performance.now() < end, what());
    await delay(20);
  }
}

const lodge = (env: NodeJS.ProcessEnv, ...args: string[]): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, [LODGE, ...args], { encoding: 'utf8', env, timeout: WAIT });

function ok({ status, stdout, stderr }: SpawnSyncReturns<string>): string {
  assert.equal(status, 0, stdout + stderr);
  return stdout;
}

test('`lodge run` that is killed leaves no process behind', { skip: whyNot() }, async (t) => {
  const { folder, env } = home();
  const random = new Random(SEED);
  const kinds = kvmFinding().state === 'unusable' ? ['software'] : ['kvm', 'software'];
  for (let i = 0; i < KILLS; i++) {
    const accel = kinds[i % kinds.length] ?? 'software';
    const args = ['run', '--accel', accel, '--memory', '64', '--cpus', String(1 + (i % 2))];
    const child = spawn(process.execPath, [LODGE, ...args], { env, stdio: 'ignore' });
    const moment = random.below(MOMENTS);
    t.diagnostic(`${accel}: killed after ${moment} ms`);
    await delay(moment);
    kill(child.pid ?? assert.fail('no process'));
    await until(
      () => processesOf(folder).length === 0,
      () => `left: ${processesOf(folder).join(', ')}`,
    );
  }
  assert.deepEqual(readdirSync(folder), []);
});

test('a machine whose process or owner is killed can be started again', { skip: whyNot() }, async (t) => {
  const { folder, env } = home();
  const random = new Random(SEED + 1);
  const accel = kvmFinding().state === 'unusable' ? 'software' : 'kvm';
  ok(lodge(env, 'create', '--name', 'victim', '--memory', '64', '--accel', accel, '--no-disk'));
  for (let i = 0; i < KILLS; i++) {
    const starting = spawn(process.execPath, [LODGE, 'start', 'victim'], { env, stdio: 'ignore' });
    await until(
      () => existsSync(join(folder, 'owner.lock')),
      () => 'somebody owns the folder',
    );
    await delay(random.below(MOMENTS));
    const pids = processesOf(folder).filter((pid) => pid !== starting.pid);
    const victims = random.chance(1, 3) ? pids : [random.pick([starting.pid ?? 0, ...pids])];
    t.diagnostic(`killed ${victims.length} of ${pids.length + 1}`);
    victims.forEach(kill);
    await delay(random.below(200));
    // Whoever is left: the machine may have been spared.
    spawnSync(process.execPath, [LODGE, 'stop', '--force', 'victim'], { env, timeout: WAIT });
    await until(
      () => processesOf(folder).length === 0,
      () => `left: ${processesOf(folder).join(', ')}`,
    );
    assert.match(ok(lodge(env, 'list')), /victim/);
  }
  const unfinished = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.tmp$|owner\.lock/.test(name),
  );
  assert.deepEqual(unfinished, []);
});

test('files that a killed process did not finish are removed by the next owner', { skip: whyNot() }, () => {
  const { folder, env } = home();
  ok(lodge(env, 'create', '--name', 'one', '--memory', '64', '--no-disk'));
  const gone = spawnSync(process.execPath, ['-e', '']).pid;
  const machine = join(folder, 'machines', readdirSync(join(folder, 'machines'))[0] ?? assert.fail('no machine'));
  mkdirSync(join(machine, 'mine'));
  for (const name of [join(folder, `machines.json.${gone}.tmp`), join(folder, `owner.lock.${gone}`)]) {
    writeFileSync(name, 'half');
  }
  writeFileSync(join(machine, `machine.json.${gone}.tmp`), 'half');
  writeFileSync(join(machine, `machine.json.${process.pid}.tmp`), 'of a process that lives');
  writeFileSync(join(machine, 'notes.tmp'), "somebody else's");
  assert.match(ok(lodge(env, 'list')), /one/);
  const left = [...readdirSync(folder), ...readdirSync(machine)].filter((name) => /tmp$|lock/.test(name));
  assert.deepEqual(left.sort(), [`machine.json.${process.pid}.tmp`, 'notes.tmp'].sort());
});
