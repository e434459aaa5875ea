import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { platform } from 'node:os';
import type { ErrorDetails } from '../base/host-error.ts';
import type { MissingAddon } from '../cpu/kvm/kvm-host.ts';
import type { KvmProbe } from '../cpu/kvm/kvm-probe.ts';

/** What keeps KVM from being used, and what can be done about it. */
export interface KvmProblem {
  /** One line. */
  readonly detail: string;
  /** The same for programs: a user interface says it in its language, with the values of `details`. */
  readonly why: string;
  readonly details?: ErrorDetails;
  readonly remedy?: string;
}

/** What stands around a KVM that cannot be used; remedies depend on it. */
export interface KvmSurroundings {
  /** `process.platform`. */
  readonly platform: string;
  /** /proc/cpuinfo. */
  readonly cpuinfo: string;
  /** This process is in a container, whose devices are chosen when it is started. */
  readonly container: boolean;
  /** /dev/kvm; undefined: there is none. */
  readonly device: KvmDevice | undefined;
}

export interface KvmDevice {
  /** Of its file: type and permissions. */
  readonly mode: number;
  readonly group: string | undefined;
  /** Its permissions let this user in: what keeps them out is something else. */
  readonly permitted: boolean;
}

export type UnusableKvm = Extract<KvmProbe, { usable: false }> | MissingAddon;

const LETS_GROUP_IN = 0o060;
/** Errors of the host that is short of something, with what to do. */
const SHORTAGES: Readonly<Record<string, string>> = {
  ENOMEM: 'end programs that use much memory',
  EMFILE: 'raise the limit of open files: ulimit -n',
  ENFILE: 'end programs that have many files open',
};

/** In one line what is wrong with a KVM, and its remedy. */
export function explainKvm(probe: UnusableKvm, around: KvmSurroundings = surroundings()): KvmProblem {
  if ('addon' in probe) {
    const [detail = '', remedy] = probe.problem.split('; ');
    const why = around.platform === 'linux' ? 'kvm-addon' : 'kvm-elsewhere';
    return { detail, why, ...(remedy === undefined || why !== 'kvm-addon' ? {} : { remedy }) };
  }
  const { call, code = '', problem } = probe;
  if (call === undefined) {
    return {
      detail: `KVM cannot be used: ${problem}`,
      why: 'kvm-unfit',
      details: { problem },
      remedy: 'run a newer Linux kernel',
    };
  }
  if (code === 'EBUSY') {
    return {
      detail: "another hypervisor holds the processor's virtualization",
      why: 'kvm-busy',
      remedy: 'end the virtual machines of other programs, such as VirtualBox or VMware',
    };
  }
  if (call === 'open /dev/kvm' && (code === 'EACCES' || code === 'EPERM')) {
    return forbidden(code, around);
  }
  if (call === 'open /dev/kvm' && ['ENOENT', 'ENODEV', 'ENXIO'].includes(code)) {
    return missing(code, around);
  }
  if (code === 'EISDIR' || call === 'KVM_GET_API_VERSION') {
    return {
      detail: `/dev/kvm is not KVM's device (${problem})`,
      why: 'kvm-foreign',
      remedy: 'remove it and restart the host, which makes it anew',
    };
  }
  return {
    detail: `KVM fails: ${problem}`,
    why: 'kvm-failing',
    details: { problem },
    remedy: SHORTAGES[code] ?? 'see the messages of the kernel: sudo dmesg',
  };
}

function forbidden(code: string, { device, container }: KvmSurroundings): KvmProblem {
  // EPERM comes from the list of devices that a group of processes may use, not from the file's permissions.
  if (code === 'EPERM' || device?.permitted === true) {
    return {
      detail: 'a security policy of the host keeps this process from /dev/kvm',
      why: 'kvm-barred',
      remedy: container
        ? 'start the container with the device: --device /dev/kvm'
        : 'allow /dev/kvm where the policy is set (SELinux, AppArmor, DeviceAllow= of a service)',
    };
  }
  const group = device?.group;
  if (group === undefined || group === 'root' || ((device?.mode ?? 0) & LETS_GROUP_IN) !== LETS_GROUP_IN) {
    return {
      detail: '/dev/kvm may not be opened by this user, and no group of users may',
      why: 'kvm-closed',
      remedy: 'run: sudo setfacl -m u:$USER:rw /dev/kvm',
    };
  }
  return {
    detail: `/dev/kvm may not be opened by this user, only by the group ${group}`,
    why: 'kvm-forbidden',
    remedy: `run: sudo usermod -aG ${group} $USER, and log in again`,
    details: { group },
  };
}

function missing(code: string, { cpuinfo, container }: KvmSurroundings): KvmProblem {
  const what = code === 'ENOENT' ? '/dev/kvm is missing' : 'nothing answers at /dev/kvm';
  const vendor = virtualizationOf(cpuinfo);
  if (vendor === undefined) {
    return {
      detail: `${what}, and the processor shows no virtualization`,
      why: 'kvm-missing',
      remedy:
        'switch on VT-x (Intel) or SVM (AMD) in the firmware settings, or nested virtualization where this is a guest',
    };
  }
  if (container) {
    return {
      detail: `${what} in this container though the processor has virtualization`,
      why: 'kvm-container',
      remedy: `start the container with the device: --device /dev/kvm (on its host: sudo modprobe ${vendor.module})`,
      details: { ...vendor },
    };
  }
  return {
    detail: `${what} though the processor has virtualization`,
    why: 'kvm-off',
    remedy: `run: sudo modprobe ${vendor.module}; if that fails, switch on ${vendor.setting} in the firmware settings`,
    details: { ...vendor },
  };
}

/** By the flags of /proc/cpuinfo: the module of KVM for this processor, and what firmware calls the switch. */
export function virtualizationOf(cpuinfo: string): { readonly module: string; readonly setting: string } | undefined {
  const flags = /^flags\s*:(.*)$/m.exec(cpuinfo)?.[1]?.split(' ') ?? [];
  if (flags.includes('vmx')) {
    return { module: 'kvm_intel', setting: 'Intel VT-x' };
  }
  return flags.includes('svm') ? { module: 'kvm_amd', setting: 'SVM' } : undefined;
}

function surroundings(): KvmSurroundings {
  return {
    platform: platform(),
    cpuinfo: readText('/proc/cpuinfo') ?? '',
    // As Docker and Podman mark theirs.
    container: ['/.dockerenv', '/run/.containerenv'].some((path) => existsSync(path)),
    device: lookAtDevice('/dev/kvm'),
  };
}

function lookAtDevice(path: string): KvmDevice | undefined {
  try {
    const { gid, mode } = statSync(path);
    const entry = readText('/etc/group')
      ?.split('\n')
      .find((line) => line.split(':')[2] === String(gid));
    return { mode, group: entry?.split(':')[0], permitted: mayUse(path) };
  } catch {
    return undefined;
  }
}

function mayUse(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
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
