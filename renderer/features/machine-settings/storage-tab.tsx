import { Plus } from 'lucide-react';
import { useFieldArray, useFormContext } from 'react-hook-form';
import { DISK_BUSES, MAX_DISK_SERIAL } from '../../../engine/config/machine-config.ts';
import { CDROM_BUSES, MAX_DISKS } from '../../../main/contract/devices.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { SelectField, TextField } from '../../ui/field.tsx';
import type { SettingsValues } from './settings-form.ts';
import { CheckboxSetting, Device, Locked, PathSetting, TabBody } from './tabs.tsx';

/** Hard disks, the optical and the floppy drive. */
export function StorageTab() {
  const { guestSystems } = useLodge();
  const text = useText();
  const { control, register, setValue, watch, formState } = useFormContext<SettingsValues>();
  const disks = useFieldArray({ control, name: 'disks' });
  const defaults = guestSystems.find(({ id }) => id === watch('guestSystem'))?.defaults;
  const bus = defaults?.diskBus ?? 'ide';
  const size = String(defaults?.diskGigabytes ?? 8);
  const full = disks.fields.length >= MAX_DISKS;
  return (
    <TabBody locked>
      <Locked>
        {disks.fields.length === 0 && <p className="muted">{text('machine.diskNone')}</p>}
        {disks.fields.map(({ id }, index) => {
          const number = index + 1;
          const errors = formState.errors.disks?.[index];
          const isNew = watch(`disks.${index}.size`) !== undefined;
          return (
            <Device
              key={id}
              title={text('machine.disk', { number })}
              remove={{ label: text('machine.diskRemove', { number }), onClick: () => disks.remove(index) }}
            >
              {isNew ? (
                <TextField
                  label={text('wizard.size')}
                  type="number"
                  inputMode="decimal"
                  min={0}
                  step="any"
                  hint={text('machine.diskNewHint')}
                  error={errors?.size?.message}
                  {...register(`disks.${index}.size`)}
                />
              ) : (
                <PathSetting name={`disks.${index}.path`} label={text('machine.diskImage')} want="file" />
              )}
              <div className="device__row">
                <SelectField
                  label={text('machine.bus')}
                  {...register(`disks.${index}.bus`, {
                    // On another bus it gets another place.
                    onChange: () => setValue(`disks.${index}.port`, undefined),
                  })}
                >
                  {DISK_BUSES.map((value) => (
                    <option key={value} value={value}>
                      {text(`machine.bus.${value}`)}
                    </option>
                  ))}
                </SelectField>
                <TextField
                  label={text('machine.serial')}
                  hint={text('machine.serialHint')}
                  maxLength={MAX_DISK_SERIAL}
                  error={errors?.serial?.message}
                  {...register(`disks.${index}.serial`)}
                />
              </div>
              {!isNew && <CheckboxSetting name={`disks.${index}.readOnly`} label={text('machine.readOnly')} />}
            </Device>
          );
        })}
        <div className="buttons">
          <Button
            icon={<Plus size={16} aria-hidden="true" />}
            disabled={full}
            onClick={() => disks.append({ path: '', bus, serial: '', readOnly: false, size })}
          >
            {text('machine.diskNew')}
          </Button>
          <Button
            icon={<Plus size={16} aria-hidden="true" />}
            disabled={full}
            onClick={() => disks.append({ path: '', bus, serial: '', readOnly: false })}
          >
            {text('machine.diskAdd')}
          </Button>
        </div>
      </Locked>
      <Device title={text('manager.detail.optical')}>
        <Locked>
          <SelectField label={text('machine.bus')} {...register('cdrom.bus')}>
            {(['none', ...CDROM_BUSES] as const).map((value) => (
              <option key={value} value={value}>
                {text(`machine.bus.${value}`)}
              </option>
            ))}
          </SelectField>
        </Locked>
        {watch('cdrom.bus') !== 'none' && (
          <PathSetting name="cdrom.path" label={text('machine.cdrom')} want="file" hint={text('machine.cdromHint')} />
        )}
      </Device>
      <Device title={text('manager.detail.floppy')}>
        <Locked>
          <CheckboxSetting name="floppy.present" label={text('machine.floppyDrive')} />
        </Locked>
        {watch('floppy.present') && (
          <>
            <PathSetting
              name="floppy.path"
              label={text('machine.floppy')}
              want="file"
              hint={text('machine.cdromHint')}
            />
            <CheckboxSetting name="floppy.readOnly" label={text('machine.readOnly')} />
          </>
        )}
      </Device>
    </TabBody>
  );
}
