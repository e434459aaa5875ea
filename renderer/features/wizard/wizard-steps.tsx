import { Controller, type UseFormReturn } from 'react-hook-form';
import type { AppInfo, DiskSpace, GuestSystem, MediaInspection } from '../../../main/contract/host.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { describeMedium, guestSystemName } from '../../i18n/host-texts.ts';
import { type Text, useText } from '../../i18n/i18n.ts';
import { Choices, NumberField, SelectField, TextField } from '../../ui/field.tsx';
import { formatBytes } from '../../ui/format.ts';
import { GuestSystemField } from '../../ui/guest-system-field.tsx';
import { PathField } from '../../ui/path-field.tsx';
import type { Inspection } from './use-media-inspection.ts';
import type { WizardValues } from './wizard-form.ts';

type Form = UseFormReturn<WizardValues>;

interface SystemStepProps {
  readonly form: Form;
  readonly media: { readonly inspection: Inspection | undefined; readonly busy: boolean };
  readonly onGuestChosen: (system: GuestSystem) => void;
}

/** What the machine is called, where it lives, and what is to be installed. */
export function SystemStep({ form, media, onGuestChosen }: SystemStepProps) {
  const { guestSystems } = useLodge();
  const text = useText();
  const { errors } = form.formState;
  const { inspection } = media;
  const found = inspection?.found;
  const guest = form.register('guestSystem');
  return (
    <>
      <TextField label={text('wizard.name')} error={errors.name?.message} maxLength={200} {...form.register('name')} />
      <Controller
        control={form.control}
        name="folder"
        render={({ field, fieldState }) => (
          <PathField
            label={text('wizard.folder')}
            want="folder"
            hint={text('wizard.folderHint')}
            error={fieldState.error?.message}
            value={field.value}
            onChange={field.onChange}
            onBlur={field.onBlur}
            ref={field.ref}
          />
        )}
      />
      <Controller
        control={form.control}
        name="installMedia"
        render={({ field, fieldState }) => (
          <PathField
            label={text('wizard.media')}
            want="file"
            value={field.value}
            onChange={field.onChange}
            onBlur={field.onBlur}
            ref={field.ref}
            error={fieldState.error?.message ?? (fieldState.isTouched ? inspection?.problem : undefined)}
            warning={found?.bootable === false ? text('wizard.notBootable') : undefined}
            hint={
              media.busy
                ? text('wizard.mediaReading')
                : found === undefined
                  ? text('wizard.mediaHint')
                  : found.guestSystem === null
                    ? `${describeMedium(found, text)} – ${text('wizard.notRecognised')}`
                    : text('wizard.recognised', { what: describeMedium(found, text) })
            }
          />
        )}
      />
      <GuestSystemField
        error={errors.guestSystem?.message}
        {...guest}
        onChange={(event) => {
          void guest.onChange(event);
          const system = guestSystems.find(({ id }) => id === event.target.value);
          if (system !== undefined) {
            onGuestChosen(system);
          }
        }}
      />
    </>
  );
}

/** Memory and processors, beside what the host has of them. */
export function HardwareStep({ form, info, guest }: { form: Form; info: AppInfo; guest: GuestSystem | undefined }) {
  const text = useText();
  const { errors } = form.formState;
  const memory = Number(form.watch('memory'));
  const { limits } = info;
  const low = guest !== undefined && memory < guest.minima.memoryMegabytes;
  return (
    <>
      <NumberField
        label={text('wizard.memory')}
        min={limits.memoryMegabytes.minimum}
        max={limits.memoryMegabytes.maximum}
        error={errors.memory?.message}
        warning={
          errors.memory !== undefined
            ? undefined
            : low
              ? text('wizard.memoryLow', { guest: guestSystemName(guest, text), minimum: guest.minima.memoryMegabytes })
              : memory > info.memory.freeMegabytes
                ? text('wizard.memoryMuch')
                : undefined
        }
        hint={text('wizard.memoryHint', { total: info.memory.totalMegabytes, free: info.memory.freeMegabytes })}
        {...form.register('memory')}
      />
      <NumberField
        label={text('wizard.processors')}
        min={limits.processors.minimum}
        max={limits.processors.maximum}
        error={errors.processors?.message}
        hint={text('wizard.processorsHint', { count: info.processors.count })}
        {...form.register('processors')}
      />
      <SelectField label={text('wizard.firmware')} error={errors.firmware?.message} {...form.register('firmware')}>
        <option value="bios">BIOS</option>
      </SelectField>
      <SelectField
        label={text('machine.network')}
        hint={text(`machine.network.${form.watch('network')}Hint`)}
        {...form.register('network')}
      >
        <option value="nat">{text('machine.network.nat')}</option>
        <option value="none">{text('machine.network.none')}</option>
      </SelectField>
    </>
  );
}

interface DiskStepProps {
  readonly form: Form;
  readonly guest: GuestSystem | undefined;
  readonly space: DiskSpace | undefined;
}

/** A hard disk: new, one that is there, or none. */
export function DiskStep({ form, guest, space }: DiskStepProps) {
  const text = useText();
  const { errors } = form.formState;
  const kind = form.watch('hardDisk');
  const gigabytes = Number(form.watch('size'));
  const free = space === undefined ? undefined : space.freeBytes / 2 ** 30;
  return (
    <>
      <Choices
        label={text('wizard.disk')}
        value={kind}
        onChange={(value) => form.setValue('hardDisk', value, { shouldDirty: true })}
        choices={(['new', 'existing', 'none'] as const).map((value) => ({
          value,
          label: text(`wizard.disk.${value}`),
          detail: text(`wizard.disk.${value}Hint`),
        }))}
      />
      {kind === 'new' && (
        <TextField
          label={text('wizard.size')}
          type="number"
          inputMode="decimal"
          min={0}
          step="any"
          error={errors.size?.message}
          warning={
            errors.size !== undefined
              ? undefined
              : free !== undefined && gigabytes > free
                ? text('wizard.sizeMuch')
                : guest !== undefined && gigabytes < guest.minima.diskGigabytes
                  ? text('wizard.sizeLow', { guest: guestSystemName(guest, text), minimum: guest.minima.diskGigabytes })
                  : undefined
          }
          hint={free === undefined ? undefined : text('wizard.sizeHint', { free: free.toFixed(1) })}
          {...form.register('size')}
        />
      )}
      {kind === 'existing' && (
        <Controller
          control={form.control}
          name="image"
          render={({ field, fieldState }) => (
            <PathField
              label={text('wizard.image')}
              want="file"
              value={field.value}
              onChange={field.onChange}
              onBlur={field.onBlur}
              ref={field.ref}
              error={fieldState.error?.message}
            />
          )}
        />
      )}
    </>
  );
}

function networkSummary({ network }: WizardValues, guest: GuestSystem | undefined, text: Text): string {
  return network === 'none'
    ? text('machine.network.none')
    : text('network.nat', { model: text(`machine.model.${guest?.defaults.network ?? 'e1000'}`) });
}

interface SummaryStepProps {
  readonly values: WizardValues;
  readonly guest: GuestSystem | undefined;
  readonly media: MediaInspection | undefined;
}

/** What will be made. */
export function SummaryStep({ values, guest, media }: SummaryStepProps) {
  const text = useText();
  const disk = {
    new: text('wizard.disk.summaryNew', { size: values.size }),
    existing: values.image,
    none: text('common.none'),
  }[values.hardDisk];
  const rows: readonly (readonly [label: string, value: string, path?: boolean])[] = [
    [text('wizard.name'), values.name.trim()],
    [text('wizard.guest'), guest === undefined ? values.guestSystem : guestSystemName(guest, text)],
    [text('wizard.folder'), values.folder, true],
    [
      text('wizard.media'),
      values.installMedia === '' ? text('common.none') : values.installMedia,
      values.installMedia !== '',
    ],
    [text('manager.detail.memory'), text('manager.megabytes', { value: values.memory })],
    [text('wizard.processors'), values.processors],
    [text('wizard.firmware'), values.firmware.toUpperCase()],
    [text('wizard.disk'), disk, values.hardDisk === 'existing'],
    [text('machine.network'), networkSummary(values, guest, text)],
  ];
  return (
    <>
      <p className="muted">{text('wizard.summaryText')}</p>
      <dl className="summary">
        {rows.map(([label, value, path]) => (
          <div key={label} className="summary__row">
            <dt>{label}</dt>
            <dd className={path === true ? 'path' : ''}>{value}</dd>
          </div>
        ))}
      </dl>
      {media !== undefined && (
        <p className="field__hint">
          {describeMedium(media, text)} ({formatBytes(media.sizeBytes)})
        </p>
      )}
    </>
  );
}
