import { z } from 'zod';
import type { AppInfo, MediaKind } from '../../../main/contract/host.ts';
import { MAX_NAME_LENGTH, type Machine, type NewMachine } from '../../../main/contract/machines.ts';
import type { Text } from '../../i18n/i18n.ts';
import { isAbsolutePath, isPlainName, numberProblem } from '../../ui/field-rules.ts';

/** What the wizard asks. Numbers are text until they are checked: fields hold whatever was typed. */
export interface WizardValues {
  name: string;
  folder: string;
  installMedia: string;
  guestSystem: string;
  memory: string;
  processors: string;
  firmware: 'bios';
  network: 'nat' | 'none';
  hardDisk: 'new' | 'existing' | 'none';
  size: string;
  image: string;
}

export const STEPS = ['system', 'hardware', 'disk', 'summary'] as const;
export type Step = (typeof STEPS)[number];

/** The fields that must be right before a step is left. */
export const STEP_FIELDS: Readonly<Record<Step, readonly (keyof WizardValues)[]>> = {
  system: ['name', 'folder', 'installMedia', 'guestSystem'],
  hardware: ['memory', 'processors', 'firmware', 'network'],
  disk: ['hardDisk', 'size', 'image'],
  summary: [],
};

/** The step of a field that the services complain about, by the name they know it under. */
export function fieldOfArgument(argument: string): keyof WizardValues | undefined {
  const known: Readonly<Record<string, keyof WizardValues>> = {
    name: 'name',
    folder: 'folder',
    guestSystem: 'guestSystem',
    memoryMegabytes: 'memory',
    processors: 'processors',
    firmware: 'firmware',
    network: 'network',
    installMedia: 'installMedia',
    'installMedia.path': 'installMedia',
    hardDisk: 'hardDisk',
    'hardDisk.sizeGigabytes': 'size',
    'hardDisk.path': 'image',
  };
  return known[argument];
}

export function stepOfField(field: keyof WizardValues): Step {
  return STEPS.find((step) => STEP_FIELDS[step].includes(field)) ?? 'system';
}

/** The rules of the form, with their messages in the user's language. */
export function wizardSchema(text: Text, info: AppInfo, machines: readonly Machine[]) {
  const { limits } = info;
  return z
    .object({
      name: z.string(),
      folder: z.string(),
      installMedia: z.string(),
      guestSystem: z.string(),
      memory: z.string(),
      processors: z.string(),
      firmware: z.literal('bios'),
      network: z.enum(['nat', 'none']),
      hardDisk: z.enum(['new', 'existing', 'none']),
      size: z.string(),
      image: z.string(),
    })
    .superRefine((values, context) => {
      const problem = (field: keyof WizardValues, message: string | undefined) => {
        if (message !== undefined) {
          context.addIssue({ code: 'custom', path: [field], message });
        }
      };
      const name = values.name.trim();
      problem(
        'name',
        name === ''
          ? text('wizard.error.name')
          : name.length > MAX_NAME_LENGTH
            ? text('wizard.error.nameLong', { count: MAX_NAME_LENGTH })
            : !isPlainName(name)
              ? text('wizard.error.nameCharacters')
              : machines.some((machine) => machine.name.toLowerCase() === name.toLowerCase())
                ? text('wizard.error.nameTaken')
                : undefined,
      );
      const folder = values.folder.trim();
      problem(
        'folder',
        folder === ''
          ? text('wizard.error.folder')
          : isAbsolutePath(folder)
            ? undefined
            : text('wizard.error.absolute'),
      );
      const media = values.installMedia.trim();
      problem('installMedia', media === '' || isAbsolutePath(media) ? undefined : text('wizard.error.absolute'));
      problem('memory', numberProblem(text, values.memory, limits.memoryMegabytes));
      problem('processors', numberProblem(text, values.processors, limits.processors));
      if (values.hardDisk === 'new') {
        problem('size', numberProblem(text, values.size, limits.diskGigabytes, false));
      }
      if (values.hardDisk === 'existing') {
        const image = values.image.trim();
        problem(
          'image',
          image === '' ? text('wizard.error.image') : isAbsolutePath(image) ? undefined : text('wizard.error.absolute'),
        );
      }
    });
}

/** What the services are asked to make. `kind` is what the install medium was found to be. */
export function newMachine(values: WizardValues, kind: MediaKind): NewMachine {
  const media = values.installMedia.trim();
  return {
    name: values.name.trim(),
    folder: values.folder.trim(),
    guestSystem: values.guestSystem,
    memoryMegabytes: Number(values.memory),
    processors: Number(values.processors),
    firmware: values.firmware,
    // A network without wishes is one that suits the guest system.
    network: values.network === 'nat' ? {} : null,
    ...(media === '' ? {} : { installMedia: { path: media, kind } }),
    hardDisk:
      values.hardDisk === 'new'
        ? { kind: 'new', sizeGigabytes: Number(values.size) }
        : values.hardDisk === 'existing'
          ? { kind: 'existing', path: values.image.trim() }
          : { kind: 'none' },
  };
}
