import { Tabs } from '@base-ui/react/tabs';
import { zodResolver } from '@hookform/resolvers/zod';
import { CircleAlert, Cpu, FolderOpen, HardDrive, Monitor, Network, Settings } from 'lucide-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { type FieldPath, FormProvider, useForm } from 'react-hook-form';
import type { Balloon } from '../../../main/contract/console.ts';
import { ApiError } from '../../../main/contract/errors.ts';
import type { Machine, MachineSettings } from '../../../main/contract/machines.ts';
import { errorData } from '../../api/error-data.ts';
import { errorText, useFeed, useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Notice } from '../../ui/notice.tsx';
import { isActive } from '../manager/machine-state.tsx';
import { AcceleratorTab } from './accelerator-tab.tsx';
import { DisplayTab } from './display-tab.tsx';
import './machine-settings.css';
import { NetworkTab } from './network-tab.tsx';
import {
  changesOf,
  fieldOfSetting,
  type SettingsValues,
  settingsSchema,
  TABS,
  type Tab,
  tabsWith,
  valuesOf,
} from './settings-form.ts';
import { SharesTab } from './shares-tab.tsx';
import { StorageTab } from './storage-tab.tsx';
import { SystemTab } from './system-tab.tsx';
import { RunningContext } from './tabs.tsx';

const ICONS: Readonly<Record<Tab, typeof Cpu>> = {
  system: Settings,
  display: Monitor,
  storage: HardDrive,
  network: Network,
  shares: FolderOpen,
  accelerator: Cpu,
};

interface MachineSettingsProps {
  readonly machine: Machine;
  readonly tab?: Tab | undefined;
  readonly onClose: () => void;
}

/** What a machine consists of. While it runs, what can be changed then. */
export function MachineSettingsDialog({ machine, tab, onClose }: MachineSettingsProps) {
  const status = useFeed('console.status', { machine: machine.id });
  const { settings } = machine;
  // The memory that a running guest has is known once its status is.
  if (settings === null || (isActive(machine) && status === undefined)) {
    return null;
  }
  return (
    <SettingsForm
      machine={machine}
      settings={settings}
      balloon={status?.balloon ?? undefined}
      first={tab ?? 'system'}
      onClose={onClose}
    />
  );
}

interface SettingsFormProps extends Pick<MachineSettingsProps, 'machine' | 'onClose'> {
  readonly settings: MachineSettings;
  readonly balloon: Balloon | undefined;
  readonly first: Tab;
}

function SettingsForm({ machine, settings, balloon, first, onClose }: SettingsFormProps) {
  const { api, info, guestSystems } = useLodge();
  const text = useText();
  const { id, name } = machine;
  const running = isActive(machine);
  const [tab, setTab] = useState<Tab>(first);
  const [failure, setFailure] = useState<string>();
  const [saving, setSaving] = useState(false);
  /** How often Save found something wrong. */
  const [refusals, setRefusals] = useState(0);
  const panels = useRef<HTMLDivElement>(null);
  const schema = useMemo(() => settingsSchema(text, info), [text, info]);
  const system = guestSystems.find((one) => one.id === settings.guestSystem);
  const present = balloon?.targetMegabytes ?? settings.memoryMegabytes;
  const form = useForm<SettingsValues>({
    resolver: zodResolver(schema),
    // Fields are checked when they are left, as below; rows that were just added are not.
    mode: 'onSubmit',
    shouldFocusError: false,
    defaultValues: valuesOf(settings, system, present),
  });
  const wrong = tabsWith(form.formState.errors);

  /** Shows the first tab on which something is wrong, and what it is. */
  const showErrors = (tabs: readonly Tab[]) => {
    const [wanted] = tabs;
    if (wanted === undefined) {
      return;
    }
    setTab(tabs.includes(tab) ? tab : wanted);
    setRefusals((count) => count + 1);
  };
  useEffect(() => {
    // The field exists only once its tab is shown.
    if (refusals > 0) {
      panels.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
    }
  }, [refusals]);

  /** Makes the images that are wanted; each row then is a disk like the others. */
  const makeDisks = async ({ disks }: SettingsValues) => {
    for (const [index, { size, bus, serial }] of disks.entries()) {
      if (size === undefined) {
        continue;
      }
      const wish = { bus, ...(serial.trim() === '' ? {} : { serial: serial.trim() }) };
      try {
        const made = await api.call('machines.addDisk', { id, sizeGigabytes: Number(size), ...wish });
        const disk = made.settings?.disks.at(-1);
        form.setValue(`disks.${index}.path`, disk?.path ?? '');
        form.setValue(`disks.${index}.port`, disk?.port);
        form.setValue(`disks.${index}.size`, undefined);
      } catch (error) {
        const { code, message, remedy, details } = errorData(error);
        throw new ApiError({
          code,
          message,
          ...(remedy === undefined ? {} : { remedy }),
          details: { ...details, field: `disks.${index}.size` },
        });
      }
    }
  };

  const save = async (values: SettingsValues) => {
    setSaving(true);
    setFailure(undefined);
    try {
      const changes = changesOf(values, settings);
      if (Object.keys(changes).length > 0) {
        await api.call('machines.update', { id, changes });
      }
      await makeDisks(values);
      if (running && balloon !== undefined && Number(values.present) !== present) {
        await api.call('machines.setBalloon', { id, megabytes: Number(values.present) });
      }
      onClose();
    } catch (error) {
      setSaving(false);
      const field = error instanceof ApiError && error.field !== undefined ? fieldOfSetting(error.field) : undefined;
      if (field === undefined) {
        setFailure(errorText(error));
      } else {
        form.setError(field as FieldPath<SettingsValues>, { type: 'server', message: errorText(error) });
        showErrors(tabsWith({ [field.split('.')[0] ?? '']: true }));
      }
    }
  };

  return (
    <Dialog
      size="large"
      title={text('machine.title', { name })}
      onClose={onClose}
      onSubmit={form.handleSubmit(save, (errors) => showErrors(tabsWith(errors)))}
      actions={
        <>
          <Button onClick={onClose}>{text('common.cancel')}</Button>
          <Button look="primary" type="submit" disabled={saving}>
            {text('common.save')}
          </Button>
        </>
      }
    >
      <FormProvider {...form}>
        <RunningContext value={running}>
          <Tabs.Root
            className="machine-settings"
            orientation="vertical"
            value={tab}
            onValueChange={(value: Tab) => setTab(value)}
            onBlur={({ target }) => {
              if (target instanceof HTMLInputElement && target.name !== '') {
                void form.trigger(target.name as FieldPath<SettingsValues>);
              }
            }}
          >
            <Tabs.List className="machine-settings__tabs" aria-label={text('machine.tabs')}>
              {TABS.map((value) => {
                const Icon = wrong.includes(value) ? CircleAlert : ICONS[value];
                return (
                  <Tabs.Tab
                    key={value}
                    value={value}
                    className={`machine-settings__tab ${wrong.includes(value) ? 'machine-settings__tab--wrong' : ''}`}
                  >
                    <Icon size={17} aria-hidden="true" />
                    {text(`machine.tab.${value}`)}
                    {wrong.includes(value) && <span className="visually-hidden"> {text('machine.tabWrong')}</span>}
                  </Tabs.Tab>
                );
              })}
            </Tabs.List>
            <div ref={panels} className="machine-settings__panels">
              {failure !== undefined && (
                <Notice kind="danger" title={text('machine.failed')}>
                  <p>{failure}</p>
                </Notice>
              )}
              <Tabs.Panel value="system" className="machine-settings__panel">
                <SystemTab balloon={balloon} />
              </Tabs.Panel>
              <Tabs.Panel value="display" className="machine-settings__panel">
                <DisplayTab />
              </Tabs.Panel>
              <Tabs.Panel value="storage" className="machine-settings__panel">
                <StorageTab />
              </Tabs.Panel>
              <Tabs.Panel value="network" className="machine-settings__panel">
                <NetworkTab />
              </Tabs.Panel>
              <Tabs.Panel value="shares" className="machine-settings__panel">
                <SharesTab />
              </Tabs.Panel>
              <Tabs.Panel value="accelerator" className="machine-settings__panel">
                <AcceleratorTab />
              </Tabs.Panel>
            </div>
          </Tabs.Root>
        </RunningContext>
      </FormProvider>
    </Dialog>
  );
}
