import { type KeyboardEvent, useRef } from 'react';
import type { Machine } from '../../../main/contract/machines.ts';
import { useText } from '../../i18n/i18n.ts';
import { GuestIcon } from './guest-icon.tsx';
import { MachineStateLabel } from './machine-state.tsx';

interface MachineListProps {
  readonly machines: readonly Machine[];
  readonly selected: string | undefined;
  readonly onSelect: (id: string) => void;
  /** Enter, or a double click. */
  readonly onOpen: (machine: Machine) => void;
}

/** The list at the left: one stop for Tab, arrows move within it. */
export function MachineList({ machines, selected, onSelect, onOpen }: MachineListProps) {
  const text = useText();
  const list = useRef<HTMLDivElement>(null);

  const onKeyDown = (event: KeyboardEvent) => {
    const index = machines.findIndex(({ id }) => id === selected);
    const target = {
      ArrowDown: Math.min(index + 1, machines.length - 1),
      ArrowUp: Math.max(index - 1, 0),
      Home: 0,
      End: machines.length - 1,
    }[event.key];
    const machine = machines[target ?? index];
    if (machine === undefined) {
      return;
    }
    if (event.key === 'Enter') {
      event.preventDefault();
      onOpen(machine);
    } else if (target !== undefined) {
      event.preventDefault();
      onSelect(machine.id);
      list.current?.querySelectorAll<HTMLElement>('[role=option]')[target]?.focus();
    }
  };

  return (
    <div ref={list} role="listbox" aria-label={text('manager.machines')} className="machine-list" onKeyDown={onKeyDown}>
      {machines.map((machine, index) => {
        const isSelected = machine.id === selected;
        return (
          <div
            key={machine.id}
            role="option"
            aria-selected={isSelected}
            tabIndex={isSelected || (selected === undefined && index === 0) ? 0 : -1}
            className="machine-list__item"
            onClick={() => onSelect(machine.id)}
            onFocus={() => onSelect(machine.id)}
            onDoubleClick={() => onOpen(machine)}
            onKeyDown={() => undefined}
          >
            <GuestIcon guestSystem={machine.settings?.guestSystem} />
            <span className="machine-list__text">
              <span className="machine-list__name">{machine.name}</span>
              <MachineStateLabel state={machine.state} />
            </span>
          </div>
        );
      })}
    </div>
  );
}
