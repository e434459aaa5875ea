import { ArrowDown, ArrowUp } from 'lucide-react';
import { useContext } from 'react';
import { Controller, useFormContext } from 'react-hook-form';
import { BOOT_DEVICES, type BootDevice } from '../../../engine/config/machine-config.ts';
import type { Balloon } from '../../../main/contract/console.ts';
import { useLodge } from '../../api/lodge-context.ts';
import { useText } from '../../i18n/i18n.ts';
import { Button } from '../../ui/button.tsx';
import { FieldError, NumberField, TextField } from '../../ui/field.tsx';
import { GuestSystemField } from '../../ui/guest-system-field.tsx';
import type { SettingsValues } from './settings-form.ts';
import { CheckboxSetting, Locked, RunningContext, TabBody } from './tabs.tsx';

/** Name, guest system, memory, processors, boot order. */
export function SystemTab({ balloon }: { balloon: Balloon | undefined }) {
  const { info } = useLodge();
  const text = useText();
  const running = useContext(RunningContext);
  const { register, control, formState, setValue } = useFormContext<SettingsValues>();
  const { errors } = formState;
  const { memoryMegabytes, processors } = info.limits;
  return (
    <TabBody locked>
      <TextField label={text('wizard.name')} error={errors.name?.message} maxLength={200} {...register('name')} />
      {running && balloon !== undefined && (
        <NumberField
          label={text('machine.present')}
          min={memoryMegabytes.minimum}
          error={errors.present?.message}
          warning={balloon.active ? undefined : text('machine.presentInactive')}
          hint={text('machine.presentHint', { present: balloon.presentMegabytes })}
          {...register('present')}
        />
      )}
      <Locked>
        <GuestSystemField error={errors.guestSystem?.message} {...register('guestSystem')} />
        <NumberField
          label={text('wizard.memory')}
          min={memoryMegabytes.minimum}
          max={memoryMegabytes.maximum}
          error={errors.memory?.message}
          hint={text('wizard.memoryHint', { total: info.memory.totalMegabytes, free: info.memory.freeMegabytes })}
          {...register('memory', {
            // What a guest that does not run has at present is all of it.
            onChange: (event: { target: { value: string } }) => setValue('present', event.target.value),
          })}
        />
        <NumberField
          label={text('wizard.processors')}
          min={processors.minimum}
          max={processors.maximum}
          error={errors.processors?.message}
          hint={text('wizard.processorsHint', { count: info.processors.count })}
          {...register('processors')}
        />
      </Locked>
      <Locked label={text('machine.boot')}>
        <Controller
          control={control}
          name="bootOrder"
          render={({ field, fieldState }) => (
            <BootOrder order={field.value} onChange={field.onChange} error={fieldState.error?.message} />
          )}
        />
      </Locked>
      <Locked label={text('machine.virtio')}>
        <div className="choices">
          <CheckboxSetting name="balloon" label={text('machine.balloon')} detail={text('machine.balloonHint')} />
          <CheckboxSetting name="entropy" label={text('machine.entropy')} detail={text('machine.entropyHint')} />
        </div>
      </Locked>
    </TabBody>
  );
}

interface BootOrderProps {
  readonly order: readonly BootDevice[];
  readonly onChange: (order: readonly BootDevice[]) => void;
  readonly error: string | undefined;
}

/** What is started from, first things first; what is not chosen stands below. */
function BootOrder({ order, onChange, error }: BootOrderProps) {
  const text = useText();
  const rows = [...order, ...BOOT_DEVICES.filter((device) => !order.includes(device))];
  const move = (device: BootDevice, by: number) => {
    const from = order.indexOf(device);
    const others = order.filter((one) => one !== device);
    onChange([...others.slice(0, from + by), device, ...others.slice(from + by)]);
  };
  return (
    <>
      <ul className="boot-order">
        {rows.map((device) => {
          const at = order.indexOf(device);
          const name = text(`machine.boot.${device}`);
          return (
            <li key={device} className="boot-order__row">
              <label className="boot-order__name">
                <input
                  type="checkbox"
                  className="boot-order__check"
                  checked={at >= 0}
                  onChange={({ target }) =>
                    onChange(target.checked ? [...order, device] : order.filter((one) => one !== device))
                  }
                />
                {name}
              </label>
              <Button
                look="quiet"
                aria-label={text('machine.boot.up', { device: name })}
                icon={<ArrowUp size={16} aria-hidden="true" />}
                disabled={at <= 0}
                onClick={() => move(device, -1)}
              />
              <Button
                look="quiet"
                aria-label={text('machine.boot.down', { device: name })}
                icon={<ArrowDown size={16} aria-hidden="true" />}
                disabled={at < 0 || at === order.length - 1}
                onClick={() => move(device, 1)}
              />
            </li>
          );
        })}
      </ul>
      {error !== undefined && <FieldError id="boot-order-error">{error}</FieldError>}
    </>
  );
}
