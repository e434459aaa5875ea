import { useMemo } from 'react';
import type { Machine } from '../../../main/contract/machines.ts';
import { showError, useLodge, useShell } from '../../api/lodge-context.ts';
import { canStart, isActive } from './machine-state.tsx';

export interface MachineActions {
  /** Starts a machine and shows its window. */
  start(id: string): void;
  /** What Enter and a double click do: start it, or show the window of one that runs. */
  open(machine: Machine): void;
  show(id: string): void;
  shutdown(id: string): void;
  powerOff(id: string): void;
  pause(id: string): void;
  resume(id: string): void;
  reset(id: string): void;
}

/** The commands for machines; failures are shown. */
export function useMachineActions(): MachineActions {
  const { api } = useLodge();
  const shell = useShell();
  return useMemo(() => {
    const start = (id: string) => {
      // The window comes first: it shows the start, and browsers open windows only right after a click.
      shell.openConsole(id);
      api.call('machines.start', { id }).catch(showError);
    };
    return {
      start,
      open(machine) {
        if (canStart(machine)) {
          start(machine.id);
        } else if (isActive(machine)) {
          shell.openConsole(machine.id);
        }
      },
      show: (id) => shell.openConsole(id),
      shutdown: (id) => void api.call('machines.shutdown', { id }).catch(showError),
      powerOff: (id) => void api.call('machines.powerOff', { id }).catch(showError),
      pause: (id) => void api.call('machines.pause', { id }).catch(showError),
      resume: (id) => void api.call('machines.resume', { id }).catch(showError),
      reset: (id) => void api.call('machines.reset', { id }).catch(showError),
    };
  }, [api, shell]);
}
