import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { homedir, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type ErrorDetails, HostError } from '../base/host-error.ts';
import type { Accelerator } from '../config/machine-config.ts';
import { type KvmFacts, missingAddon, probeHost } from '../cpu/kvm/kvm-host.ts';

/** What runs a machine, and why: for people, and for programs. */
export interface AcceleratorInfo {
  readonly name: 'kvm' | 'software';
  /** For people, short. */
  readonly label: string;
  readonly reason: string;
  /** The reason for programs: a user interface says it in its language, with the values of `details`. */
  readonly why: string;
  readonly details?: ErrorDetails | undefined;
}

export interface AcceleratorChoice extends AcceleratorInfo {
  /** Present for KVM. */
  readonly kvm: KvmFacts | undefined;
}

/** What was found out about this host's KVM. */
export interface KvmFinding {
  readonly state: 'fast' | 'slow' | 'unusable';
  /** One line. */
  readonly detail: string;
  readonly why: string;
  /** Values of the detail and the remedy by name. */
  readonly details?: ErrorDetails | undefined;
  readonly remedy?: string;
  readonly facts?: KvmFacts;
}

const LABELS = { kvm: 'KVM', software: 'Software' } as const;

/** Changes whenever the probe does. */
const CACHE_VERSION = 2;
const cacheSchema = z.object({
  version: z.literal(CACHE_VERSION),
  boot: z.string(),
  node: z.string(),
  fast: z.boolean(),
  longModeOnly: z.boolean(),
  syscallsFault: z.boolean(),
  tscKilohertz: z.number().positive(),
  slowest: z.number(),
  millis: z.number(),
});
type Cached = z.infer<typeof cacheSchema>;

/**
 * The processor for a machine. `auto` takes KVM where it is usable and fast in every mode, else Lodge's own. Throws
 * HostError('no-kvm') when KVM was asked for and cannot be used.
 */
export function chooseAccelerator(
  wanted: { readonly accel: Accelerator; readonly virtualTime: boolean },
  finding: () => KvmFinding = kvmFinding,
): AcceleratorChoice {
  const software = (reason: string, why: string, details?: ErrorDetails): AcceleratorChoice => ({
    name: 'software',
    label: LABELS.software,
    reason,
    why,
    details,
    kvm: undefined,
  });
  if (wanted.accel === 'software') {
    return software("Lodge's own processor, as the settings say", 'asked');
  }
  if (wanted.virtualTime) {
    if (wanted.accel === 'kvm') {
      throw new HostError('no-kvm', '--accel kvm: KVM cannot count instructions, which virtual time follows', {
        remedy: 'leave out --virtual-time, or give --accel software',
      });
    }
    return software("Lodge's own processor, which keeps virtual time", 'virtual-time');
  }
  const { state, detail, why, details, remedy, facts } = finding();
  if (wanted.accel === 'kvm') {
    if (state === 'unusable' || facts === undefined) {
      throw new HostError('no-kvm', `--accel kvm: ${detail}`, { remedy: remedy ?? 'give --accel software' });
    }
    return { name: 'kvm', label: LABELS.kvm, reason: `as the settings say; ${detail}`, why: 'asked', kvm: facts };
  }
  if (state === 'fast') {
    return { name: 'kvm', label: LABELS.kvm, reason: detail, why, kvm: facts };
  }
  return software(`Lodge's own processor: ${detail}${remedy === undefined ? '' : `; ${remedy}`}`, why, details);
}

/** The same, after a machine was moved or KVM failed. */
export function acceleratorNow(name: 'kvm' | 'software', why: 'moved' | 'kvm-failed'): AcceleratorInfo {
  const reason = why === 'moved' ? 'moved here while it ran' : "Lodge's own processor, because KVM failed; see the log";
  return { name, label: LABELS[name], reason, why };
}

/** Looks at this host's KVM, or remembers what was found since the host was started. */
export function kvmFinding(): KvmFinding {
  const missing = missingAddon();
  if (missing !== undefined) {
    return explain(missing);
  }
  const boot = bootId();
  const cached = boot === undefined ? undefined : readCache(boot);
  if (cached !== undefined && mayOpen()) {
    return found(cached);
  }
  const probe = probeHost();
  if (!probe.usable) {
    return explain(probe);
  }
  const { fast, longModeOnly, syscallsFault, tscKilohertz, speeds, millis } = probe;
  const slowest = Math.min(...Object.values(speeds).filter((speed) => speed !== undefined));
  const result = { version: CACHE_VERSION, boot: boot ?? '', node: process.versions.node } as const;
  const facts: Cached = { ...result, fast, longModeOnly, syscallsFault, tscKilohertz, slowest, millis };
  if (boot !== undefined) {
    writeCache(facts);
  }
  return found(facts);
}

function found({ fast, longModeOnly, syscallsFault, tscKilohertz, slowest }: Cached): KvmFinding {
  const facts = { tscKilohertz, longModeOnly, emulates: !fast, syscallsFault };
  if (fast) {
    return { state: 'fast', detail: 'KVM runs small guests at full speed in every mode', why: 'fast', facts };
  }
  const speed = slowest < 10 ? slowest.toFixed(1) : Math.round(slowest);
  const modes = longModeOnly ? ' and lacks paging outside 64-bit mode' : '';
  return {
    state: 'slow',
    detail: `KVM works but emulates guests, at ${speed} million instructions a second${modes}`,
    why: 'kvm-slow',
    details: { speed },
    facts,
  };
}

/** An unusable KVM, with what can be done about it. */
function explain(probe: Extract<ReturnType<typeof probeHost>, { usable: false }>): KvmFinding {
  const unusable = (detail: string, why: string, remedy?: string, details?: ErrorDetails): KvmFinding => ({
    state: 'unusable',
    detail,
    why,
    details,
    ...(remedy === undefined ? {} : { remedy }),
  });
  if ('addon' in probe) {
    const [detail = '', remedy] = probe.problem.split('; ');
    return platform() === 'linux' ? unusable(detail, 'kvm-addon', remedy) : unusable(detail, 'kvm-elsewhere');
  }
  if (probe.call !== 'open /dev/kvm') {
    const { problem } = probe;
    return unusable(`KVM cannot be used: ${problem}`, 'kvm-unfit', 'run a newer Linux kernel', { problem });
  }
  if (probe.code === 'EACCES' || probe.code === 'EPERM') {
    const found = groupOfKvm();
    const group = found ?? 'kvm';
    return unusable(
      `/dev/kvm may not be opened by this user${found === undefined ? '' : `, only by the group ${group}`}`,
      'kvm-forbidden',
      `run: sudo usermod -aG ${group} $USER, and log in again`,
      { group },
    );
  }
  const vendor = virtualizationOf(readText('/proc/cpuinfo') ?? '');
  if (vendor === undefined) {
    return unusable(
      '/dev/kvm is missing, and the processor shows no virtualization',
      'kvm-missing',
      'switch on VT-x (Intel) or SVM (AMD) in the firmware settings, or nested virtualization where this is a guest',
    );
  }
  return unusable(
    '/dev/kvm is missing though the processor has virtualization',
    'kvm-off',
    `run: sudo modprobe ${vendor.module}; if that fails, switch on ${vendor.setting} in the firmware settings`,
    { ...vendor },
  );
}

/** By the flags of /proc/cpuinfo: the module of KVM for this processor, and what firmware calls the switch. */
export function virtualizationOf(cpuinfo: string): { readonly module: string; readonly setting: string } | undefined {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [];
  if (flags.includes('vmx')) {
    return { module: 'kvm_intel', setting: 'Intel VT-x' };
  }
  return flags.includes('svm') ? { module: 'kvm_amd', setting: 'SVM' } : undefined;
}

function groupOfKvm(): string | undefined {
  try {
    const { gid } = statSync('/dev/kvm');
    const line = readText('/etc/group')
      ?.split('\n')
      .find((entry) => entry.split(':')[2] === String(gid));
    return line?.split(':')[0];
  } catch {
    return undefined;
  }
}

/** A cached answer must not outlive the permission. */
function mayOpen(): boolean {
  try {
    const { uid = 0, gid = 0, mode } = statSync('/dev/kvm');
    const groups = process.getgroups?.() ?? [];
    const own = process.getuid?.() ?? 0;
    return own === 0 || (uid === own && (mode & 0o600) === 0o600) || groups.includes(gid) || (mode & 0o006) === 0o006;
  } catch {
    return false;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function bootId(): string | undefined {
  return readText('/proc/sys/kernel/random/boot_id')?.trim();
}

function cachePath(): string {
  const { XDG_CACHE_HOME: cache } = process.env;
  return join(cache === undefined || cache === '' ? join(homedir(), '.cache') : cache, 'lodge', 'kvm-probe.json');
}

function readCache(boot: string): Cached | undefined {
  const text = readText(cachePath());
  if (text === undefined) {
    return undefined;
  }
  try {
    const parsed = cacheSchema.safeParse(JSON.parse(text));
    const { data } = parsed;
    return data !== undefined && data.boot === boot && data.node === process.versions.node ? data : undefined;
  } catch {
    return undefined;
  }
}

/** Nothing depends on it: where it cannot be written, the next start probes again. */
function writeCache(facts: Cached): void {
  const path = cachePath();
  const temporary = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(temporary, JSON.stringify(facts));
    renameSync(temporary, path);
  } catch {
    // A read-only home is no reason to complain.
  }
}
