import { zodResolver } from '@hookform/resolvers/zod';
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { type UseFormReturn, useForm } from 'react-hook-form';
import { ApiError } from '../../../main/contract/errors.ts';
import type { AppInfo, DiskSpace, GuestSystem } from '../../../main/contract/host.ts';
import { errorText, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Notice } from '../../ui/notice.tsx';
import { DiskStep, HardwareStep, SummaryStep, SystemStep } from './wizard-steps.tsx';
import './wizard.css';
import { useMediaInspection } from './use-media-inspection.ts';
import {
  fieldOfArgument,
  newMachine,
  STEP_FIELDS,
  STEPS,
  stepOfField,
  type WizardValues,
  wizardSchema,
} from './wizard-form.ts';

/** What is offered until an image says something else. */
const USUAL_GUEST = 'linux-64';

interface WizardProps {
  readonly onClose: () => void;
  readonly onCreated: (id: string) => void;
}

/** Asks what a new machine is to be, in three steps and a summary; what it suggests makes a working machine. */
export function Wizard({ onClose, onCreated }: WizardProps) {
  const lodge = useLodge();
  const { api, guestSystems, machines } = lodge;
  const text = useText();
  const info = useFreshInfo(lodge.info);
  const [stepIndex, setStepIndex] = useState(0);
  const step = STEPS[stepIndex] ?? 'summary';
  const [failure, setFailure] = useState<string>();
  const [creating, setCreating] = useState(false);
  const taken = useRef(machines);
  const suggestedDisk = useRef<WizardValues['hardDisk']>('new');
  const schema = useMemo(() => wizardSchema(text, info, taken.current), [text, info]);
  const first = guestSystems.find(({ id }) => id === USUAL_GUEST) ?? guestSystems[0];
  const form = useForm<WizardValues>({
    resolver: zodResolver(schema),
    mode: 'onTouched',
    defaultValues: {
      name: '',
      folder: info.machinesFolder,
      installMedia: '',
      guestSystem: first?.id ?? '',
      firmware: 'bios',
      hardDisk: 'new',
      image: '',
      ...(first === undefined
        ? { memory: '1024', processors: '1', size: '8', network: 'nat' }
        : suggestions(first, info)),
    },
  });
  const { getFieldState, getValues, setError, setValue, trigger, watch } = form;
  const values = watch();
  const guest = guestSystems.find(({ id }) => id === values.guestSystem);

  /** Fills in what suits a guest system, except where the user has decided. */
  const suggest = useCallback(
    (system: GuestSystem) => {
      for (const [field, value] of Object.entries(suggestions(system, info))) {
        const name = field as 'memory' | 'processors' | 'size' | 'network';
        if (!getFieldState(name).isDirty) {
          setValue(name, value);
        }
      }
    },
    [getFieldState, info, setValue],
  );

  const media = useMediaInspection(values.installMedia, ({ found }) => {
    // A disk with a system on it needs no second one.
    const disk = found?.kind === 'disk' ? 'none' : 'new';
    if (getValues('hardDisk') === suggestedDisk.current) {
      setValue('hardDisk', disk);
    }
    suggestedDisk.current = disk;
    if (found === undefined) {
      return;
    }
    const system = guestSystems.find(({ id }) => id === found.guestSystem);
    if (system !== undefined && !getFieldState('guestSystem').isDirty) {
      setValue('guestSystem', system.id);
      suggest(system);
    }
    if (found.suggestedName !== null && getValues('name').trim() === '') {
      setValue(
        'name',
        freeName(
          found.suggestedName,
          taken.current.map(({ name }) => name),
        ),
        { shouldValidate: true },
      );
    }
  });

  const next = async () => {
    setFailure(undefined);
    const looked = step === 'system' ? await media.look(values.installMedia.trim()) : undefined;
    if (await trigger([...STEP_FIELDS[step]], { shouldFocus: true })) {
      if (looked?.problem !== undefined) {
        setError('installMedia', { type: 'server', message: looked.problem }, { shouldFocus: true });
      } else {
        setStepIndex(stepIndex + 1);
      }
    }
  };

  const create = async () => {
    setCreating(true);
    setFailure(undefined);
    try {
      const { id } = await api.call('machines.create', newMachine(values, media.inspection?.found?.kind ?? 'cdrom'));
      onCreated(id);
    } catch (error) {
      setCreating(false);
      const field = error instanceof ApiError && error.field !== undefined ? fieldOfArgument(error.field) : undefined;
      if (field === undefined) {
        setFailure(errorText(error));
      } else {
        setStepIndex(STEPS.indexOf(stepOfField(field)));
        // The field exists only once its step is shown.
        setTimeout(() => setError(field, { type: 'server', message: errorText(error) }, { shouldFocus: true }));
      }
    }
  };

  return (
    <Dialog
      size="wide"
      title={text('wizard.title')}
      description={<StepIndicator current={stepIndex} />}
      onClose={onClose}
      onSubmit={(event) => {
        event.preventDefault();
        void (step === 'summary' ? create() : next());
      }}
      actions={
        <>
          <Button className="dialog__actions-start" onClick={onClose}>
            {text('common.cancel')}
          </Button>
          {stepIndex > 0 && (
            <Button disabled={creating} onClick={() => setStepIndex(stepIndex - 1)}>
              {text('wizard.back')}
            </Button>
          )}
          {step === 'summary' ? (
            <Button key="create" look="primary" type="submit" disabled={creating}>
              {text('wizard.create')}
            </Button>
          ) : (
            <Button key="next" look="primary" type="submit">
              {text('wizard.next')}
            </Button>
          )}
        </>
      }
    >
      <div className="wizard__step" key={step}>
        {step === 'system' && <SystemStep form={form} media={media} onGuestChosen={suggest} />}
        {step === 'hardware' && <HardwareStep form={form} info={info} guest={guest} />}
        {step === 'disk' && <DiskStepWithSpace form={form} guest={guest} />}
        {step === 'summary' && <SummaryStep values={values} guest={guest} media={media.inspection?.found} />}
        {failure !== undefined && (
          <Notice kind="danger" title={text('wizard.failed')}>
            <p>{failure}</p>
          </Notice>
        )}
      </div>
    </Dialog>
  );
}

function StepIndicator({ current }: { current: number }) {
  const text = useText();
  const name = text(`wizard.step.${STEPS[current] ?? 'summary'}`);
  return (
    <div className="steps">
      <span className="visually-hidden" role="status">
        {text('wizard.step', { step: current + 1, steps: STEPS.length, name })}
      </span>
      <ol className="steps__list" aria-hidden="true">
        {STEPS.map((step, index) => (
          <li
            key={step}
            className={`steps__step ${index === current ? 'steps__step--current' : index < current ? 'steps__step--done' : ''}`}
          >
            <span className="steps__number">{index + 1}</span>
            {text(`wizard.step.${step}`)}
          </li>
        ))}
      </ol>
    </div>
  );
}

function DiskStepWithSpace({ form, guest }: { form: UseFormReturn<WizardValues>; guest: GuestSystem | undefined }) {
  const { api } = useLodge();
  const folder = form.watch('folder').trim();
  const [space, setSpace] = useState<DiskSpace>();
  useEffect(() => {
    let current = true;
    api.call('host.diskSpace', { folder }).then(
      (found) => current && setSpace(found),
      // The figure is a help; without it the choice is as good.
      () => current && setSpace(undefined),
    );
    return () => {
      current = false;
    };
  }, [api, folder]);
  return <DiskStep form={form} guest={guest} space={space} />;
}

/** The host's memory as it is now rather than when the window was opened. */
function useFreshInfo(known: AppInfo): AppInfo {
  const { api } = useLodge();
  const [info, setInfo] = useState(known);
  useEffect(() => {
    let current = true;
    api.call('app.info').then(
      (fresh) => current && setInfo(fresh),
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, [api]);
  return info;
}

/** What suits a guest system on this host. */
function suggestions(
  { defaults }: GuestSystem,
  info: AppInfo,
): Pick<WizardValues, 'memory' | 'processors' | 'size' | 'network'> {
  const processors = Math.max(1, Math.min(defaults.processors, info.processors.count));
  return {
    memory: String(defaults.memoryMegabytes),
    processors: String(processors),
    size: String(defaults.diskGigabytes),
    network: defaults.network === null ? 'none' : 'nat',
  };
}

/** `name`, or `name (2)`, … when it is taken. */
function freeName(name: string, taken: readonly string[]): string {
  const used = new Set(taken.map((one) => one.toLowerCase()));
  let candidate = name;
  for (let count = 2; used.has(candidate.toLowerCase()); count++) {
    candidate = `${name} (${count})`;
  }
  return candidate;
}
