import { Info, Trash2 } from 'lucide-react';
import { createContext, type ReactNode, useContext, useId } from 'react';
import { Controller, type FieldPath, useFormContext } from 'react-hook-form';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Checkbox } from '../../ui/field.tsx';
import { PathField } from '../../ui/path-field.tsx';
import type { SettingsValues } from './settings-form.ts';

/** What is common to the tabs of a machine's settings. */

/** Whether the machine runs, so that most settings are locked. */
export const RunningContext = createContext(false);

const LockedNoteContext = createContext<string | undefined>(undefined);

/** The settings of a tab; `locked`: some of them cannot be changed while the machine runs, and why is said on top. */
export function TabBody({ locked, children }: { locked: boolean; children: ReactNode }) {
  const running = useContext(RunningContext);
  const text = useText();
  const id = useId();
  return (
    <LockedNoteContext value={id}>
      {running && locked && (
        <p id={id} className="settings-note">
          <Info size={16} aria-hidden="true" />
          {text('machine.locked.title')}. {text('machine.locked.text')}
        </p>
      )}
      {children}
    </LockedNoteContext>
  );
}

/** Settings that cannot be changed while the machine runs. */
export function Locked({ children, label }: { children: ReactNode; label?: string }) {
  const running = useContext(RunningContext);
  const note = useContext(LockedNoteContext);
  return (
    <fieldset className="fields" disabled={running} aria-describedby={running ? note : undefined}>
      {label !== undefined && <legend className="field__label">{label}</legend>}
      {children}
    </fieldset>
  );
}

interface DeviceProps {
  readonly title: string;
  readonly children: ReactNode;
  /** With what a screen reader says of the button that removes the device. */
  readonly remove?: { readonly label: string; readonly onClick: () => void };
}

/** One device of several. */
export function Device({ title, remove, children }: DeviceProps) {
  const text = useText();
  return (
    <section className="device" aria-label={title}>
      <header className="device__head">
        <h3>{title}</h3>
        {remove !== undefined && (
          <Button
            look="quiet"
            icon={<Trash2 size={15} aria-hidden="true" />}
            aria-label={remove.label}
            onClick={remove.onClick}
          >
            {text('machine.remove')}
          </Button>
        )}
      </header>
      {children}
    </section>
  );
}

/** Names of fields that hold a text. */
type Named<T> = {
  [P in FieldPath<SettingsValues>]: T extends string ? P : never;
}[FieldPath<SettingsValues>];

interface PathSettingProps {
  readonly name: Named<string>;
  readonly label: string;
  readonly want: 'file' | 'folder';
  readonly hint?: string;
}

/** A path on the host. */
export function PathSetting({ name, label, want, hint }: PathSettingProps) {
  const { control, trigger } = useFormContext<SettingsValues>();
  return (
    <Controller
      control={control}
      name={name}
      render={({ field, fieldState }) => (
        <PathField
          label={label}
          want={want}
          hint={hint}
          error={fieldState.error?.message}
          value={String(field.value ?? '')}
          onChange={field.onChange}
          onBlur={() => {
            field.onBlur();
            void trigger(name);
          }}
          ref={field.ref}
        />
      )}
    />
  );
}

interface CheckboxSettingProps {
  readonly name: FieldPath<SettingsValues>;
  readonly label: string;
  readonly detail?: string;
}

export function CheckboxSetting({ name, label, detail }: CheckboxSettingProps) {
  const { control } = useFormContext<SettingsValues>();
  return (
    <Controller
      control={control}
      name={name}
      render={({ field }) => (
        <Checkbox label={label} detail={detail} checked={field.value === true} onChange={field.onChange} />
      )}
    />
  );
}
