import { HostError } from '../../engine/base/host-error.ts';
import { SETTING_NAMES } from '../../engine/config/machine-config.ts';
import { validateMachineConfig } from '../../engine/config/validate-machine-config.ts';
import { hostFiles } from '../../engine/process/host-files.ts';
import type { MachineCommand } from '../../engine/process/machine-messages.ts';
import type { PortForward } from '../contract/devices.ts';
import { ApiError } from '../contract/errors.ts';
import { failure } from '../contract/failures.ts';
import type { MachineChanges, MachineSettings } from '../contract/machines.ts';
import { toErrorData } from './failures.ts';
import { hostPath } from './host-paths.ts';
import type { ManagedMachine } from './managed-machine.ts';
import { fieldOfPath, mapPaths } from './settings-paths.ts';
import { forwardConfig, vmConfig } from './vm-config.ts';

/** What the settings are after a change. Throws ApiError or HostError about what is wrong with them. */
export function changedSettings(before: MachineSettings, changes: MachineChanges): MachineSettings {
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const after = mapPaths({ ...before, ...given }, (path, field) => hostPath(field, path));
  checkSettings(after, before);
  return after;
}

/** Checks settings: all values, and the files that are not in the settings before. */
export function checkSettings(settings: MachineSettings, before?: MachineSettings): void {
  validateMachineConfig(vmConfig(settings), { names: SETTING_NAMES });
  const isNew = <K extends keyof MachineSettings>(key: K) => !isSame(settings[key], before?.[key]);
  const fresh: MachineSettings = {
    ...settings,
    disks: settings.disks.filter((disk) => !before?.disks.some((known) => isSame(known, disk))),
    cdrom: isNew('cdrom') ? settings.cdrom : null,
    floppy: isNew('floppy') ? settings.floppy : null,
    network: isNew('network') ? settings.network : null,
    shares: settings.shares.filter((share) => !before?.shares.some((known) => isSame(known, share))),
    sound: isNew('sound') ? settings.sound : null,
  };
  try {
    validateMachineConfig(vmConfig(fresh), { names: SETTING_NAMES, files: hostFiles });
  } catch (error) {
    const path = error instanceof HostError ? error.details?.['path'] : undefined;
    const field = typeof path === 'string' ? fieldOfPath(settings, path) : undefined;
    throw field === undefined ? error : about(error, field);
  }
}

/** The failure, with the setting that it is about. */
function about(error: unknown, field: string): ApiError {
  const data = toErrorData(error);
  return new ApiError({ ...data, details: { ...data.details, field } }, { cause: error });
}

function isSame(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The settings without what can be changed while the machine runs. */
function fixed(settings: MachineSettings): MachineSettings {
  const { cdrom, floppy, network } = settings;
  return {
    ...settings,
    name: '',
    cdrom: cdrom === null ? null : { ...cdrom, path: null },
    floppy: floppy === null ? null : { path: null, readOnly: false },
    network: network === null ? null : { ...network, connected: true, forwards: [] },
  };
}

/** Changes settings, in the running machine too. When anything of it fails nothing is changed. */
export async function changeSettings(machine: ManagedMachine, changes: MachineChanges): Promise<void> {
  if (!machine.isRunning) {
    machine.store((settings) => changedSettings(settings, changes));
    return;
  }
  const before = machine.checkedSettings();
  const wanted = { ...before, ...changes };
  const locked = Object.keys(before).filter((key) => {
    const name = key as keyof MachineSettings;
    return wanted[name] !== undefined && !isSame(fixed(before)[name], fixed({ ...before, [name]: wanted[name] })[name]);
  });
  if (locked.length > 0) {
    throw failure('wrong-state.settings', {
      name: machine.name,
      settings: locked.join(', '),
      field: locked[0] ?? '',
    });
  }
  const after = changedSettings(before, changes);
  const undo = await applyChanges(machine, before, after);
  try {
    machine.store(() => after);
  } catch (error) {
    await undo();
    throw error;
  }
}

/** Tells the running machine what is different. Rejects, with nothing changed, when it refuses; resolves to how to undo it. */
async function applyChanges(
  machine: ManagedMachine,
  before: MachineSettings,
  after: MachineSettings,
): Promise<() => Promise<void>> {
  const undoing: (() => Promise<unknown>)[] = [];
  const undo = async () => {
    for (const step of undoing.reverse()) {
      // What cannot be undone is as the machine says it is; the failure that led here is what counts.
      await step().catch(() => {});
    }
  };
  try {
    for (const step of changeSteps(before, after)) {
      const { field } = step;
      try {
        await performChange(machine, step.command);
      } catch (error) {
        throw field === undefined ? error : about(error, field);
      }
      undoing.push(() => performChange(machine, step.undo));
    }
  } catch (error) {
    await undo();
    throw error;
  }
  return undo;
}

interface ChangeStep {
  readonly command: MachineCommand;
  readonly undo: MachineCommand;
  readonly field?: string;
}

async function performChange(machine: ManagedMachine, command: MachineCommand): Promise<void> {
  if (command.kind === 'eject') {
    const { ejected } = await machine.perform(command);
    if (!ejected) {
      throw failure('medium-locked', { name: machine.name });
    }
  } else {
    await machine.perform(command);
  }
}

function changeSteps(before: MachineSettings, after: MachineSettings): ChangeStep[] {
  const steps: ChangeStep[] = [];
  for (const drive of ['cdrom', 'floppy'] as const) {
    const [old, wanted] = [before[drive], after[drive]];
    if (old !== null && wanted !== null && !isSame(old, wanted)) {
      steps.push({ command: mediumCommand(drive, wanted), undo: mediumCommand(drive, old), field: `${drive}.path` });
    }
  }
  const { forwards = [], connected } = after.network ?? {};
  const had = before.network?.forwards ?? [];
  const isIn = (list: readonly PortForward[], forward: PortForward) => list.some((one) => isSame(one, forward));
  const add = (forward: PortForward) => ({ kind: 'add-forward', forward: forwardConfig(forward) }) as const;
  const remove = ({ protocol, hostAddress, hostPort }: PortForward) =>
    ({ kind: 'remove-forward', forward: { protocol, hostAddress, hostPort } }) as const;
  for (const forward of had.filter((one) => !isIn(forwards, one))) {
    steps.push({ command: remove(forward), undo: add(forward) });
  }
  for (const [index, forward] of forwards.entries()) {
    if (!isIn(had, forward)) {
      steps.push({ command: add(forward), undo: remove(forward), field: `network.forwards.${index}.hostPort` });
    }
  }
  if (connected !== undefined && before.network !== null && connected !== before.network.connected) {
    steps.push({ command: { kind: 'link', up: connected }, undo: { kind: 'link', up: !connected } });
  }
  return steps;
}

function mediumCommand(
  drive: 'cdrom' | 'floppy',
  medium: { readonly path: string | null; readonly readOnly?: boolean },
): MachineCommand {
  const { path, readOnly = false } = medium;
  return path === null ? { kind: 'eject', drive, force: false } : { kind: 'insert', drive, path, readOnly };
}
