import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { type ErrorDetails, HostError } from '../base/host-error.ts';
import type { Accelerator } from '../config/machine-config.ts';
import { type KvmFacts, kvmFailure, missingAddon, probeHost } from '../cpu/kvm/kvm-host.ts';
import { explainKvm, type UnusableKvm } from './kvm-explanation.ts';

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
const CACHE_VERSION = 4;
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
    return unusable(missing);
  }
  // What can change while the host runs is looked at each time: permissions, modules, other hypervisors.
  const failure = kvmFailure();
  if (failure !== undefined) {
    return unusable(failure);
  }
  const boot = bootId();
  const cached = boot === undefined ? undefined : readCache(boot);
  if (cached !== undefined) {
    return found(cached);
  }
  const probe = probeHost();
  if (!probe.usable) {
    return unusable(probe);
  }
  const { certain, fast, longModeOnly, syscallsFault, tscKilohertz, speeds, millis } = probe;
  const slowest = Math.min(...Object.values(speeds).filter((speed) => speed !== undefined));
  const result = { version: CACHE_VERSION, boot: boot ?? '', node: process.versions.node } as const;
  const facts: Cached = { ...result, fast, longModeOnly, syscallsFault, tscKilohertz, slowest, millis };
  if (boot !== undefined && certain) {
    writeCache(facts);
  }
  return found(facts);
}

function unusable(probe: UnusableKvm): KvmFinding {
  return { state: 'unusable', ...explainKvm(probe) };
}

function found({ fast, longModeOnly, syscallsFault, tscKilohertz, slowest }: Cached): KvmFinding {
  const facts = { tscKilohertz, longModeOnly, emulates: !fast, syscallsFault };
  if (fast) {
    return { state: 'fast', detail: 'KVM runs small guests at full speed in every mode', why: 'fast', facts };
  }
  const speed = slowest < 10 ? slowest.toFixed(1) : Math.round(slowest);
  const modes = longModeOnly ? ', and lacks paging outside 64-bit mode' : '';
  return {
    state: 'slow',
    detail: `KVM works but emulates guests, at ${speed} million instructions a second${modes}`,
    why: 'kvm-slow',
    details: { speed },
    facts,
  };
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
