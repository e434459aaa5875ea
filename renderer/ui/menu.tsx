import { Menu as Base } from '@base-ui/react/menu';
import { Check } from 'lucide-react';
import { type ReactElement, type ReactNode, useRef } from 'react';
import { useLandmark } from './landmark.ts';

interface MenuProps {
  readonly trigger: ReactElement;
  readonly children: ReactNode;
  readonly align?: 'start' | 'end';
  /** Where the focus goes once the menu is closed, if not back to the trigger. */
  readonly focusAfter?: () => HTMLElement | null | undefined;
}

/** A button, or an entry of a menu bar, with a menu. */
export function Menu({ trigger, children, align = 'start', focusAfter }: MenuProps) {
  const escaped = useRef(false);
  const [place, landmark] = useLandmark();
  return (
    <Base.Root
      onOpenChange={(open, { reason }) => {
        escaped.current = !open && reason === 'escape-key';
      }}
    >
      <Base.Trigger ref={place} render={trigger} />
      <Base.Portal container={landmark}>
        <Base.Positioner className="popup-layer" sideOffset={4} align={align}>
          <Base.Popup
            className="popup"
            {...(focusAfter === undefined
              ? {}
              : { finalFocus: () => (escaped.current ? true : (focusAfter() ?? true)) })}
          >
            {children}
          </Base.Popup>
        </Base.Positioner>
      </Base.Portal>
    </Base.Root>
  );
}

interface MenuItemProps {
  readonly icon?: ReactNode;
  readonly shortcut?: string | undefined;
  readonly disabled?: boolean | undefined;
  readonly onSelect: () => void;
  readonly children: string;
}

export function MenuItem({ icon, shortcut, disabled = false, onSelect, children }: MenuItemProps) {
  return (
    <Base.Item className="popup__item" disabled={disabled} label={children} onClick={onSelect}>
      <span className="popup__icon" aria-hidden="true">
        {icon}
      </span>
      {children}
      {shortcut !== undefined && (
        <span className="popup__shortcut" aria-hidden="true">
          {shortcut}
        </span>
      )}
    </Base.Item>
  );
}

interface MenuCheckProps {
  readonly checked: boolean;
  readonly disabled?: boolean | undefined;
  readonly onChange: (checked: boolean) => void;
  readonly children: string;
}

export function MenuCheck({ checked, disabled = false, onChange, children }: MenuCheckProps) {
  return (
    <Base.CheckboxItem
      className="popup__item"
      label={children}
      checked={checked}
      disabled={disabled}
      onCheckedChange={(next) => onChange(next)}
      closeOnClick
    >
      <span className="popup__icon" aria-hidden="true">
        <Base.CheckboxItemIndicator>
          <Check size={16} />
        </Base.CheckboxItemIndicator>
      </span>
      {children}
    </Base.CheckboxItem>
  );
}

interface MenuRadioProps<V extends string> {
  readonly label: string;
  readonly value: V;
  readonly choices: readonly { readonly value: V; readonly label: string; readonly shortcut?: string }[];
  readonly onChange: (value: V) => void;
}

export function MenuRadio<V extends string>({ label, value, choices, onChange }: MenuRadioProps<V>) {
  return (
    <Base.RadioGroup aria-label={label} value={value} onValueChange={(next: V) => onChange(next)}>
      {choices.map((choice) => (
        <Base.RadioItem key={choice.value} value={choice.value} className="popup__item" closeOnClick>
          <span className="popup__icon" aria-hidden="true">
            <Base.RadioItemIndicator>
              <Check size={16} />
            </Base.RadioItemIndicator>
          </span>
          {choice.label}
          {choice.shortcut !== undefined && (
            <span className="popup__shortcut" aria-hidden="true">
              {choice.shortcut}
            </span>
          )}
        </Base.RadioItem>
      ))}
    </Base.RadioGroup>
  );
}

export function MenuSeparator() {
  return <Base.Separator className="popup__separator" />;
}

export const MenuTrigger = Base.Trigger;
